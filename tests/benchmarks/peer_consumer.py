"""What the peers in Python share: a librdkafka consumer that commits once ClickHouse has what it read."""

from __future__ import annotations

import os
from collections.abc import Callable
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from confluent_kafka import Consumer


def consume(brokers: str, topic: str, name: str, store: Callable[[Client, list[bytes]], object]) -> None:
    """Store what the topic has, a batch after another, until the process is ended; `name` is that of the group."""
    url = urlsplit(os.environ["ENDPOINT_ANALYTICS_CLICKHOUSE_URL"])
    client = clickhouse_connect.get_client(
        host=url.hostname,
        port=url.port,
        password=os.environ["ENDPOINT_ANALYTICS_CLICKHOUSE_PASSWORD"],
        database="endpoint_analytics",
    )
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": name,
            "group.instance.id": f"{name}-1",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([topic])
    print("ready", flush=True)
    while True:
        messages = consumer.consume(200_000, timeout=1.0)
        values = [value for each in messages if not each.error() and (value := each.value()) is not None]
        if values:
            store(client, values)
            consumer.commit(asynchronous=False)
