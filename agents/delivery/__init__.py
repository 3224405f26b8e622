"""Delivers encoded messages to Kafka: one sender per topic, with or without a spool, and outage handling."""
