"""From encoded messages to Kafka: a sender for each topic, with a spool or without, and what outages mean for it."""
