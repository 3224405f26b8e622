"""What all parts share: topics, messages and their codecs, tables, and how to reach Kafka."""
