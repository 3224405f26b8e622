"""Apache Kafka on one machine, from its published jars: only fetching, starting and supervising it."""
