"""The spool on a real disk: caps, both orders of dropping, damage, a full disk, claims of living and dead."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from endpoint_analytics.agents.spool import segments
from endpoint_analytics.agents.spool.claim import claim, claim_left
from endpoint_analytics.agents.spool.segments import Numbered
from endpoint_analytics.agents.spool.spool import Spool

CAP_BYTES = 64 * 1024
KEY = b"acme/classifier/replica-1"
MESSAGE = b"x" * 1_000


@pytest.fixture
def make_spool(tmp_path):
    """A spool of one boot; all are closed at the end."""
    made = []

    def make(boot_id="boot-1", *, drop_newest=False, directory=tmp_path, cap_bytes=CAP_BYTES):
        made.append(Spool(directory, boot_id, "prefix", KEY, cap_bytes, drop_newest=drop_newest))
        return made[-1]

    yield make
    for spool in made:
        spool.close()


def numbered(start, stop):
    return [Numbered(number, b"%06d" % number + MESSAGE) for number in range(start, stop)]


def append(spool, messages, topic="requests"):
    while messages:
        run, kept = spool.append(topic, messages)
        messages = messages[len(run) :]
        if not kept:
            spool.count_refused(topic, len(run))


def read_all(spool, topic="requests"):
    read, stored_through = [], 0
    while (messages := spool.read(topic, stored_through)) is not None:
        read += messages
        stored_through = max([stored_through, *(number for number, _ in messages)])
    return read


def adopt_all(spool, topic="requests"):
    read = []
    while (records := spool.read_adopted(topic)) is not None:
        assert {record.key for record in records} == {KEY}
        read += [record.message for record in records]
        spool.delete_adopted(topic)
    return read


def test_nobody_else_can_read_it(make_spool, tmp_path):
    directory = tmp_path / "spool"
    spool = make_spool(directory=directory)
    spool.prepare()
    append(spool, numbered(1, 3))
    made = [directory, *directory.rglob("*")]
    assert len(made) >= 4
    assert [path for path in made if path.stat().st_mode & 0o077] == []


def test_first_in_first_out_and_gone_when_taken(make_spool, tmp_path):
    spool = make_spool()
    append(spool, numbered(1, 31))
    assert spool.figures.records == 30
    assert spool.figures.bytes == sum(path.stat().st_size for path in tmp_path.glob("*/*.spool"))
    assert read_all(spool) == numbered(1, 31)
    spool.delete_through("requests", 30)
    assert (spool.figures.records, spool.figures.bytes) == (0, 0)
    append(spool, numbered(40, 42))
    assert read_all(spool) == numbered(40, 42)
    spool.delete_through("requests", 41)
    spool.close()
    assert list(tmp_path.iterdir()) == []


def test_what_kafka_took_meanwhile_is_not_read(make_spool):
    spool = make_spool()
    append(spool, numbered(1, 5))
    assert spool.read("requests", 2) == numbered(3, 5)
    assert spool.read("requests", 2) is None


def test_at_the_cap_the_oldest_segment_goes(make_spool):
    spool = make_spool()
    append(spool, numbered(1, 101))
    assert spool.figures.bytes <= CAP_BYTES
    dropped = spool.figures.dropped["requests"]["spool_full"]
    assert spool.figures.records == 100 - dropped > 50
    assert read_all(spool) == numbered(dropped + 1, 101)


def test_at_the_cap_the_newest_is_refused(make_spool):
    spool = make_spool(drop_newest=True)
    append(spool, numbered(1, 101))
    assert spool.figures.bytes <= CAP_BYTES
    dropped = spool.figures.dropped["requests"]["spool_full"]
    assert read_all(spool) == numbered(1, 101 - dropped)
    spool.delete_through("requests", 101 - dropped)
    append(spool, numbered(101, 103))
    assert read_all(spool) == numbered(101, 103)


def test_the_topics_share_the_cap_and_the_oldest_of_all_goes(make_spool):
    spool = make_spool()
    append(spool, numbered(1, 11), "hardware")
    append(spool, numbered(1, 101), "requests")
    assert spool.figures.dropped["hardware"] == {"spool_full": 10}
    assert spool.read("hardware", 0) is None


def test_states_of_replicas_go_last(make_spool):
    spool = make_spool()
    append(spool, numbered(1, 3), "replicas")
    append(spool, numbered(1, 101), "requests")
    assert set(spool.figures.dropped) == {"requests"}
    assert spool.read("replicas", 0) == numbered(1, 3)


def test_a_segment_being_sent_does_not_go(make_spool, tmp_path):
    spool = make_spool()
    append(spool, numbered(1, 31))
    being_sent = spool.read("requests", 0)
    append(spool, numbered(31, 101))
    assert (tmp_path / "boot-1@prefix" / f"requests-{1:016d}.spool").exists()
    dropped = spool.figures.dropped["requests"]["spool_full"]
    rest = [number for number, _ in read_all(spool)]
    assert rest == list(range(len(being_sent) + dropped + 1, 101))


def test_what_is_being_sent_from_memory_does_not_go(tmp_path):
    spool = Spool(
        tmp_path, "boot", "prefix", KEY, CAP_BYTES, drop_newest=False, sending_through=lambda topic: 2
    )
    append(spool, numbered(1, 101))
    numbers = [number for number, _ in read_all(spool)]
    dropped = spool.figures.dropped["requests"]["spool_full"]
    assert numbers[:3] == [1, 2, 3]
    assert numbers[-1] == 100
    assert len(numbers) + dropped == 100
    spool.close()


def test_a_message_larger_than_the_cap_is_dropped_alone(make_spool):
    spool = make_spool()
    append(spool, [*numbered(1, 3), Numbered(3, b"x" * CAP_BYTES), *numbered(4, 5)])
    assert spool.figures.dropped == {"requests": {"spool_full": 1}}
    assert read_all(spool) == [*numbered(1, 3), *numbered(4, 5)]


def test_another_process_takes_over_what_a_dead_one_left(make_spool, tmp_path):
    dead = make_spool("dead")
    append(dead, numbered(1, 31))
    living = make_spool("living")
    assert living.read_adopted("requests") is None  # its owner lives
    dead.close()
    third = make_spool("third")
    append(living, numbered(1, 3))
    assert adopt_all(living) == [message for _, message in numbered(1, 31)]
    assert third.read_adopted("requests") is None
    assert {path.name for path in tmp_path.iterdir()} == {"living@prefix", "living@prefix.lock"}


def test_a_replay_that_was_cut_begins_again_at_its_segment(make_spool):
    dead = make_spool("dead")
    append(dead, numbered(1, 31))
    dead.close()
    second = make_spool("second")
    taken = second.read_adopted("requests")
    second.delete_adopted("requests")
    again = second.read_adopted("requests")
    second.close()
    assert adopt_all(make_spool("third")) == [message for _, message in numbered(len(taken) + 1, 31)]
    assert again[0].message == numbered(len(taken) + 1, 31)[0].message


def test_what_was_taken_over_is_under_the_cap_too(make_spool):
    dead = make_spool("dead")
    append(dead, numbered(1, 51))
    dead.close()
    living = make_spool("living")
    assert living.read_adopted("requests") is not None
    append(living, numbered(1, 41))
    assert living.figures.bytes + living.figures.adopted_bytes <= CAP_BYTES
    lost = living.figures.dropped["requests"]["adopted_spool_full"]
    assert len(living.read_adopted("requests")) > 0
    assert 0 < lost < 50
    assert read_all(living) == numbered(1, 41)


def test_another_prefix_is_left_alone(make_spool, tmp_path):
    dead = make_spool("dead")
    append(dead, numbered(1, 3))
    dead.close()
    other = Spool(tmp_path, "living", "other", KEY, CAP_BYTES, drop_newest=False)
    assert other.read_adopted("requests") is None


def files_of(directory):
    return sorted(directory.glob("*/*.spool"))


def test_a_flipped_bit_costs_one_record_and_is_reported_once(make_spool, tmp_path, caplog):
    spool = make_spool()
    append(spool, numbered(1, 31))
    for path in files_of(tmp_path)[:2]:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 4
        path.write_bytes(data)
    read = read_all(spool)
    assert len(read) == 28
    assert set(read) < set(numbered(1, 31))
    assert spool.figures.dropped == {"requests": {"spool_damaged": 2}}
    assert spool.figures.damaged == 2
    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 1


@pytest.mark.parametrize("cut", [1, 500, 1_500])
def test_a_truncated_tail_of_a_dead_process(make_spool, tmp_path, cut):
    dead = make_spool("dead", cap_bytes=2**20)
    append(dead, numbered(1, 11))
    dead.close()
    (path,) = files_of(tmp_path)
    os.truncate(path, path.stat().st_size - cut)
    spool = make_spool("living")
    assert adopt_all(spool) == [m for _, m in numbered(1, 11 - (cut + 1_099) // 1_100)]
    assert spool.figures.dropped == {"requests": {"adopted_damaged": 1}}


def test_segments_that_are_empty_noise_or_gone(make_spool, tmp_path):
    dead = make_spool("dead")
    append(dead, numbered(1, 31))
    dead.close()
    first, second, third, *_ = files_of(tmp_path)
    first.write_bytes(b"")
    second.write_bytes(os.urandom(3_000))
    third.unlink()
    spool = make_spool("living")
    assert adopt_all(spool)[-1] == numbered(30, 31)[0].message
    assert spool.figures.damaged == 1
    assert list(tmp_path.iterdir()) == []


def test_a_segment_of_our_own_that_somebody_removed_is_counted_exactly(make_spool, tmp_path):
    spool = make_spool()
    append(spool, numbered(1, 31))
    files_of(tmp_path)[0].unlink()
    assert len(read_all(spool)) + spool.figures.damaged == 30


class FullDisk:
    """Accepts this many more bytes and then raises ENOSPC in the middle of a write, like a disk."""

    def __init__(self, monkeypatch, left):
        self.left = left
        write = os.write

        def write_until_full(fd, data):
            if self.left <= 0:
                raise OSError(28, "No space left on device")
            written = write(fd, data[: self.left])
            self.left -= written
            return written

        monkeypatch.setattr(segments.os, "write", write_until_full)


def test_a_full_disk_keeps_what_it_has_and_recovers(make_spool, monkeypatch, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    spool = make_spool()
    disk = FullDisk(monkeypatch, 5_500)
    append(spool, numbered(1, 4))
    for _ in range(3):
        with pytest.raises(OSError, match="No space"):
            append(spool, numbered(4, 7))
    assert spool.figures.error
    assert spool.figures.records == 3
    disk.left = 10**9
    append(spool, numbered(5, 9))  # 4 went from memory meanwhile
    assert spool.figures.error == ""
    assert read_all(spool) == [*numbered(1, 4), *numbered(5, 9)]
    assert spool.figures.damaged == 0
    levels = [record.levelname for record in caplog.records if "the spool in" in record.getMessage()]
    assert levels == ["WARNING", "INFO"]


def test_an_fsync_that_fails_is_not_believed(make_spool, monkeypatch):
    spool = make_spool()
    append(spool, numbered(1, 3))
    with monkeypatch.context() as patch:
        patch.setattr(segments.os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(5, "I/O error")))
        with pytest.raises(OSError, match="I/O"):
            append(spool, numbered(3, 4))
    append(spool, numbered(3, 5))
    assert read_all(spool) == numbered(1, 5)


@pytest.mark.skipif(not sys.platform.startswith("linux") or os.geteuid() != 0, reason="only root can mount")
def test_a_real_full_disk(make_spool, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", small], check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        spool = make_spool(directory=small)
        with pytest.raises(OSError, match="No space"):
            append(spool, numbered(1, 101))
        kept = spool.figures.records
        assert kept > 10
        first = spool.read("requests", 0)
        spool.delete_through("requests", first[-1].number)
        append(spool, numbered(kept + 1, kept + 3))
        assert first + read_all(spool) == numbered(1, kept + 3)
        spool.delete_through("requests", kept + 2)
        spool.close()
    finally:
        subprocess.run(["umount", "-l", small], check=True)


@pytest.mark.parametrize("directory", ["/proc/no/such", "/dev/null/spool"])
def test_a_directory_that_cannot_be_used_is_reported_at_the_start(make_spool, caplog, directory):
    spool = make_spool(directory=Path(directory))
    spool.prepare()
    assert f"cannot write to the spool in {directory}" in caplog.text
    assert spool.figures.error
    assert spool.read_adopted("requests") is None
    with pytest.raises(OSError):  # noqa: PT011 - which one is the system's
        append(spool, numbered(1, 2))
    assert len(caplog.records) == 1


def test_a_lock_ends_with_its_process_and_not_before(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from endpoint_analytics.agents.spool.claim import claim\n"
        "held = claim(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    directory = tmp_path / "boot@prefix"
    process = subprocess.Popen([sys.executable, "-c", program, str(directory)], stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"held\n"
        assert claim(directory) is None
        assert list(claim_left(tmp_path, "prefix")) == []
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    (left,) = claim_left(tmp_path, "prefix")
    assert claim(directory) is None
    left.remove()
    assert list(tmp_path.iterdir()) == []
