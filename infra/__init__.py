"""The parts on one machine (Kafka, ClickHouse, the demo) and the command line."""
