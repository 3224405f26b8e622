"""What all parts share: topics, messages with their codecs, tables, and how Kafka is reached."""
