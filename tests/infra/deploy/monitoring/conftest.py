"""A real ClickHouse, and the real query service: those of the query service's tests."""

from tests.pipeline.serve.conftest import client, config, server, start_service

__all__ = ["client", "config", "server", "start_service"]
