"""Settings: each is read, checked and explained in one place, and so is how Kafka and ClickHouse are reached."""
