"""The load generator: thousands of replicas from one process, as real messages on a real Kafka."""
