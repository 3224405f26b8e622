"""What an agent could not send, kept on disk until Kafka has it.

`frame`, `log` and `part` are files of checksummed records; `claim` says whose they are; `spool` holds an agent's
own and those of dead processes under one cap; `sender`, `outbox` and `replay` are its way to the producer.
"""
