"""The spool: messages that an agent could not send, kept on disk until Kafka has them.

`frame`, `segments` and `part` are files of checksummed records; `claim` records who owns them; `spool` holds an agent's
own files and those of dead processes under one size limit; `spool_outbox` hands them to the sender of a topic.
"""
