"""The access token of a local run: created once, and kept in a file that only its owner can read.

It is valid for all namespaces, because the user who starts everything is the operator. It is kept so that a scraper
configured with it still works after a restart.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from endpoint_analytics.infra.local.system.private_files import write_private
from endpoint_analytics.pipeline.store.connect import Client
from endpoint_analytics.pipeline.store.tokens import ALL_NAMESPACES, create_token, list_tokens, verify

LABEL = "made by endpoint-analytics run"


def ensure_token(client: Client, path: Path) -> bool:
    """Ensure that `path` holds an active token; returns whether a new one was created."""
    with suppress(FileNotFoundError):
        text = path.read_text(encoding="ascii", errors="replace").strip()
        if verify(text, {token.token_id: token for token in list_tokens(client)}) is not None:
            path.chmod(0o600)
            return False
    write_private(path, f"{create_token(client, ALL_NAMESPACES, LABEL, datetime.now(UTC))}\n")
    return True
