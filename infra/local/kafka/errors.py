"""Errors of the local Kafka. Only exceptions belong here; each message says what failed, where, and how to fix it."""

from __future__ import annotations


class KafkaError(Exception):
    """Kafka cannot be fetched, started or set up; the message says why, and how to fix it."""


class JarError(KafkaError):
    """A jar cannot be fetched, or differs from the tested one."""


class JavaNotFoundError(KafkaError):
    """No sufficiently recent Java runtime was found."""


class TopicMismatchError(KafkaError):
    """A topic exists with different settings than specified."""
