"""The command line, and everything that runs on one machine: Kafka, ClickHouse, a demo, a load generator."""
