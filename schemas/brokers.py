"""How clients may connect to Kafka: protocols, logins, and where brokers are by default. Only names."""

from __future__ import annotations

DEFAULT_BOOTSTRAP_SERVERS = "127.0.0.1:9092"
PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
