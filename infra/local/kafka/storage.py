"""The data directory's storage: formatted once, by Kafka's own tool, with a permanent cluster ID."""

from __future__ import annotations

import base64
import shutil
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from endpoint_analytics.infra.local.kafka.errors import KafkaError
from endpoint_analytics.infra.local.system.child import spawn

FORMATTING = "log.formatting"


def new_cluster_id() -> str:
    """Return a random cluster ID in Kafka's format: a UUID in URL-safe base64, unpadded, not starting with a dash."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode("ascii").rstrip("=")
        if not text.startswith("-"):
            return text


def is_formatted(log_dir: Path) -> bool:
    """Whether `format_storage` has completed there."""
    return (log_dir / "meta.properties").exists()


def format_storage(
    java: Sequence[str],
    log_dir: Path,
    properties: Path,
    cluster_id: str,
    *,
    environ: Mapping[str, str],
    timeout_s: float,
) -> None:
    """Format `log_dir`; `log.dirs` in the file `properties` must be FORMATTING, next to it.

    The storage is formatted under that name and then renamed, so an interrupted run is never mistaken for a complete
    one. Raises KafkaError with the tool's output if it fails.
    """
    formatting = log_dir.with_name(FORMATTING)
    shutil.rmtree(formatting, ignore_errors=True)
    if log_dir.exists():
        raise KafkaError(
            f"{log_dir} exists, but Kafka's meta.properties is missing from it: "
            "restore that file, or move the directory away to start fresh"
        )
    output = properties.with_suffix(".out")
    tool = spawn(
        [*java, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(properties)],
        cwd=properties.parent,
        output=output,
        environ=environ,
    )
    try:
        status = tool.wait(timeout_s)
    except subprocess.TimeoutExpired as error:
        raise KafkaError(f"formatting Kafka's storage {log_dir} took longer than {timeout_s:g} s") from error
    finally:
        tool.kill()
        tool.wait()
    if status != 0:
        text = output.read_text(encoding="utf-8", errors="replace").rstrip()
        raise KafkaError(f"cannot format Kafka's storage {log_dir}:\n{text}")
    formatting.replace(log_dir)
    properties.unlink()
    output.unlink()
