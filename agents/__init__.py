"""The agents: what watches one replica, and sends what it saw to Kafka."""
