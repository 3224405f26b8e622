"""From the Kafka log to the answers: fold, worker, store, query service."""
