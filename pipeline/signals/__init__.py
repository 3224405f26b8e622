"""Autoscaling signals on a Kafka topic: reads them from ClickHouse every few seconds, and sends them."""
