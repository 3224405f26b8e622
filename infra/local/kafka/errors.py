"""What may go wrong with a Kafka of ours. Only exceptions belong here; each says what, where, how to mend."""

from __future__ import annotations


class KafkaError(Exception):
    """Kafka cannot be fetched, started or set up; the text says what is wrong and how to mend it."""


class JarError(KafkaError):
    """A jar cannot be fetched, or is not the one that was tested."""


class JavaNotFoundError(KafkaError):
    """No Java runtime new enough was found."""


class DirectoryInUseError(KafkaError):
    """Another process holds the data directory."""


class TopicMismatchError(KafkaError):
    """A topic exists with settings other than the ones asked for."""
