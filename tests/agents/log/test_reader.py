"""The reader over crashes at every point: each line is counted once, by the worker's own fold."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.agents.folded import fold
from tests.agents.log.lines import nginx_line

from endpoint_analytics.agents.core.config import AgentConfig, ConfigurationError
from endpoint_analytics.agents.delivery.producer import Outgoing
from endpoint_analytics.agents.log.formats import FORMATS, Parser, pattern_parser
from endpoint_analytics.agents.log.position_file import BOOT_US, PositionFile, decode_entry, encode_entry
from endpoint_analytics.agents.log.reader import AccessLogReader
from endpoint_analytics.schemas.codec import RequestEncoding, decode_requests
from endpoint_analytics.schemas.packed_requests import is_packed

CONFIG = AgentConfig(
    namespace="acme", endpoint="classifier", replica_id="replica-1", hardware=False, flush_interval_s=0.01
)

EXCLUDING = replace(CONFIG, exclude_paths=("/health",))


class CrashError(Exception):
    """Simulates the end of the process."""


class Topic:
    """What Kafka has, and where the reader's process ends: before or after a message is stored."""

    def __init__(self) -> None:
        self.log: list[tuple[int, bytes]] = []
        self.crash: str | None = None

        self.partitions: list[int | None] = []
        self._partition: int | None = None

    def partition(self, topic: str, key: bytes) -> int | None:
        return self._partition

    def forget_partition(self, topic: str, key: bytes) -> None:
        self._partition = None

    async def send(self, topic: str, message: Outgoing) -> None:
        if self.crash == "before":
            raise CrashError
        self.log.append((time.time_ns() // 1_000_000, message.value))
        self.partitions.append(message.partition)
        if message.partition is None:
            self._partition = 5
        if self.crash == "after":
            raise CrashError

    async def close(self) -> None:
        """Nothing is open."""


def now_us() -> int:
    return time.time_ns() // 1_000


def run(
    path: Path,
    topic: Topic,
    crash: str | None = None,
    config: AgentConfig = CONFIG,
    parser: Parser = FORMATS["nginx"],
) -> AccessLogReader:
    """Start a reader, let it read everything, and stop it; optionally by a crash at its first message."""
    positions = PositionFile(path.with_name("position"), config, now_us())
    reader = AccessLogReader(config, path, parser, positions, topic, from_end=False)

    async def main() -> None:
        topic.crash = None if crash == "in the second" else crash
        reader.stop()
        try:
            await reader.run()
            if crash == "in the second":
                topic.crash = "after"
                await reader.run()
        except CrashError:
            pass
        finally:
            topic.crash = None
            await reader.close()

    asyncio.run(main())
    return reader


def append(path: Path, *lines: str) -> None:
    with path.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from(["before", "after", "in the second", None])), max_size=8
    )
)
def test_crashes_lose_nothing_and_double_nothing(tmp_path_factory, steps):
    path, topic, written = tmp_path_factory.mktemp("log") / "access.log", Topic(), 0
    path.touch()
    for lines, crash in steps:
        append(path, *[nginx_line(time.time())] * lines)
        written += lines
        run(path, topic, crash)
    run(path, topic)
    stored = fold(topic.log)
    (boot,) = stored.boots.values()
    assert (boot["finished"], boot["missing"]) == (written, 0)
    assert stored.rejected == {}
    last = decode_requests(topic.log[-1][1])
    assert last.totals.finished == written


def test_a_crash_while_the_position_file_is_written(tmp_path):
    path, topic = tmp_path / "access.log", Topic()
    append(path, nginx_line(time.time()))
    run(path, topic)
    (tmp_path / "position.new").write_bytes(b'{"version":1,"own')  # cut off before it took its place
    append(path, nginx_line(time.time()))
    assert run(path, topic).totals.finished == 2
    assert fold(topic.log).boots[decode_requests(topic.log[0][1]).boot_id]["finished"] == 2


@pytest.mark.parametrize("encoding", get_args(RequestEncoding))
def test_batches_have_the_form_that_is_set(tmp_path, encoding):
    path, topic = tmp_path / "access.log", Topic()
    append(path, nginx_line(time.time()))
    run(path, topic, config=replace(CONFIG, request_encoding=encoding))
    assert {is_packed(message) for _, message in topic.log} == {encoding == "packed"}


def test_an_old_boot_is_not_used(tmp_path):
    path, topic = tmp_path / "access.log", Topic()
    append(path, nginx_line(time.time()))
    run(path, topic, "after")
    position = tmp_path / "position"
    entry = decode_entry(position.read_bytes())
    aged = msgspec.structs.replace(entry, boot_began_us=now_us() - BOOT_US - 1)
    position.write_bytes(encode_entry(aged))
    append(path, nginx_line(time.time()))
    run(path, topic)
    stored = fold(topic.log)
    assert len(stored.boots) == 2
    assert sum(boot["finished"] for boot in stored.boots.values()) == 2
    assert [boot["missing"] for boot in stored.boots.values()] == [0, 0]


def test_lines_that_do_not_fit_are_counted_and_the_first_is_shown(tmp_path, caplog):
    path, topic = tmp_path / "access.log", Topic()
    append(path, "nonsense one", "nonsense two", "", nginx_line(time.time()), "x" * 1_000)
    totals = run(path, topic).totals
    assert (totals.finished, totals.dropped) == (1, {"unfit_line": 3})
    shown = [record.getMessage() for record in caplog.records]
    assert len(shown) == 1
    assert shown[0].endswith("nonsense one")


def test_excluded_paths_are_read_and_not_counted(tmp_path, caplog):
    path, topic = tmp_path / "access.log", Topic()
    for request in ("GET /health HTTP/1.1", "GET /health?full HTTP/1.1", "GET /he%61lth HTTP/1.1"):
        append(path, nginx_line(time.time(), request=request))
    append(
        path, nginx_line(time.time(), request="GET /health/x HTTP/1.1"), nginx_line(time.time(), request="")
    )
    reader = run(path, topic, config=EXCLUDING)
    assert reader.totals.arrived == 2
    assert reader.totals.dropped == {}
    assert caplog.records == []
    assert decode_entry((tmp_path / "position").read_bytes()).position.offset == path.stat().st_size
    assert (tmp_path / "position").stat().st_mode & 0o077 == 0


def test_a_format_without_paths_leaves_nothing_out_and_says_so(tmp_path, caplog):
    path, topic = tmp_path / "access.log", Topic()
    append(path, "200", "200")
    reader = run(path, topic, config=EXCLUDING, parser=pattern_parser(r"(?P<status>\d+)"))
    assert reader.totals.status == {"200": 2}
    (shown,) = [record.getMessage() for record in caplog.records]
    assert "its lines have no path" in shown


def test_a_log_that_is_not_there_is_a_heartbeat(tmp_path):
    topic = Topic()
    run(tmp_path / "access.log", topic)
    (batch,) = [decode_requests(message) for _, message in topic.log]
    assert (batch.seq, batch.events) == (0, 0)


def test_one_log_has_one_reader(tmp_path):
    first = PositionFile(tmp_path / "position", CONFIG, now_us())
    with pytest.raises(ConfigurationError, match="another log reader uses"):
        PositionFile(tmp_path / "position", CONFIG, now_us())
    first.close()
    PositionFile(tmp_path / "position", CONFIG, now_us()).close()


def test_a_position_of_another_replica_is_not_taken_up(tmp_path):
    PositionFile(tmp_path / "position", CONFIG, now_us()).close()
    other = AgentConfig(namespace="acme", endpoint="other", replica_id="replica-1")
    with pytest.raises(ConfigurationError, match="acme/classifier/replica-1"):
        PositionFile(tmp_path / "position", other, now_us())


@pytest.mark.parametrize("content", [b"", b"{}", b'{"version":1}', b"\xff"])
def test_a_position_that_is_invalid_is_reported(tmp_path, content):
    (tmp_path / "position").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"is damaged.*Remove it"):
        PositionFile(tmp_path / "position", CONFIG, now_us())


def test_a_directory_that_cannot_be_written_is_reported(tmp_path):
    with pytest.raises(ConfigurationError, match="--position"):
        PositionFile(tmp_path / "missing" / "position", CONFIG, now_us())


def test_the_position_file_holds_what_is_on_its_way(tmp_path):
    path, topic = tmp_path / "access.log", Topic()
    append(path, nginx_line(time.time()))
    run(path, topic, "before")
    assert topic.log == []
    entry = decode_entry((tmp_path / "position").read_bytes())
    assert decode_requests(entry.message).finished.status == [200]
    assert entry.position.offset == path.stat().st_size


def test_a_flipped_bit_in_the_position_is_noticed(tmp_path):
    PositionFile(tmp_path / "position", CONFIG, now_us()).close()
    content = (tmp_path / "position").read_bytes()
    for place in (0, len(content) // 2, len(content) - 2):
        damaged = bytearray(content)
        damaged[place] ^= 1
        (tmp_path / "position").write_bytes(damaged)
        with pytest.raises(ConfigurationError, match="is damaged"):
            PositionFile(tmp_path / "position", CONFIG, now_us())


def test_nothing_is_sent_while_the_position_cannot_be_written(tmp_path, caplog):
    path, topic = tmp_path / "access.log", Topic()
    append(path, *[nginx_line(time.time())] * 3)
    positions = PositionFile(tmp_path / "position", CONFIG, now_us())
    (tmp_path / "position.new").mkdir()  # as a full disk: opening it fails
    reader = AccessLogReader(CONFIG, path, FORMATS["nginx"], positions, topic, from_end=False)

    async def main() -> None:
        reader.stop()
        running = asyncio.create_task(reader.run())
        while not caplog.records:
            await asyncio.sleep(0.01)
        assert topic.log == []
        (tmp_path / "position.new").rmdir()
        await running
        await reader.close()

    asyncio.run(main())
    assert [record.getMessage()[:25] for record in caplog.records] == ["cannot write the position"]
    assert reader.totals.finished == 3
    assert len(fold(topic.log).boots) == 1


def test_a_reading_has_begun_before_the_first_batch(tmp_path):
    path = tmp_path / "access.log"
    append(path, nginx_line(time.time()))
    positions = PositionFile(tmp_path / "position", CONFIG, now_us())
    first = AccessLogReader(CONFIG, path, FORMATS["nginx"], positions, Topic(), from_end=True)
    asyncio.run(first.begin())
    asyncio.run(first.close())
    append(path, nginx_line(time.time()))
    topic = Topic()
    assert run(path, topic).totals.finished == 1


def test_a_boot_stays_in_its_partition_across_restarts(tmp_path):
    """The topic may have more partitions by then, and another reader process chooses anew."""
    path, topic = tmp_path / "access.log", Topic()
    for _ in range(3):
        append(path, nginx_line(time.time()))
        run(path, topic)
    assert topic.partitions[0] is None
    after = Topic()
    run(path, after)
    assert set(after.partitions) == {5}
