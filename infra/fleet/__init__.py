"""The load tool: thousands of replicas from one process, as real messages on a real Kafka."""
