"""Autoscaling signals on a Kafka topic: reads them in ClickHouse every few seconds, and sends them."""
