"""Samples by window: sums are exact, the first sample names the device, and series are bounded by boot."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint_analytics.pipeline.core.boots import BootKey
from endpoint_analytics.pipeline.core.chunks import Record
from endpoint_analytics.pipeline.core.rows import Chunk
from endpoint_analytics.pipeline.core.sample_fold import MAX_SERIES, SampleWindows
from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.hardware import Accelerator, HardwareBatch
from endpoint_analytics.schemas.limits import MAX_READING

START_US = 1_790_000_000_000_000
KEY = BootKey("acme", "llm", "r", "b")
CHUNK = Chunk("hardware", 0, Record(7, START_US // 1000, None))


def batch(at_us, replica=None, accelerators=(), seq=0) -> HardwareBatch:
    return HardwareBatch(
        **KEY._asdict(),
        seq=seq,
        start_us=START_US,
        end_us=START_US + 10_000_000,
        at_us=at_us,
        replica=replica or {},
        accelerators=list(accelerators),
    )


def columns(windows: SampleWindows) -> dict[str, list[object]]:
    block = windows.take_block(CHUNK)
    assert block is not None
    return {name: list(getattr(column, "moments", column)) for name, column in block.columns.items()}


readings = st.floats(-MAX_READING, MAX_READING) | st.sampled_from(
    [MAX_READING, -MAX_READING, 0.0005, 0.0015, -0.0005, 9_007_199_254_740.993, 1e12 + 0.001]
)


@given(st.lists(st.lists(readings | st.none(), min_size=1, max_size=40), min_size=1, max_size=8))
def test_a_window_is_that_of_exact_integers(batches):
    windows, kept = SampleWindows("hardware_windows"), []
    counts = windows.fold(
        [(KEY, batch([0] * len(column), {"x": column}), offset) for offset, column in enumerate(batches)]
    )
    assert counts == [sum(each is not None for each in column) for column in batches]
    kept = [round(each * 1000) for column in batches for each in column if each is not None]
    if not kept:
        assert windows.take_block(CHUNK) is None
        return
    found = columns(windows)
    assert found["sum"] == [sum(kept) / 1000]
    assert (found["min"], found["max"], found["last"]) == (
        [min(kept) / 1000],
        [max(kept) / 1000],
        [kept[-1] / 1000],
    )
    assert found["samples"] == [len(kept)]


def test_the_largest_readings_of_a_window_do_not_overflow():
    windows = SampleWindows("hardware_windows")
    for offset in range(3):
        windows.fold(
            [(KEY, batch([1] * 3_600, {"x": [MAX_READING] * 3_600, "y": [-MAX_READING] * 3_600}), offset)]
        )
    found = columns(windows)
    assert found["sum"] == [3 * 3_600 * MAX_READING, -3 * 3_600 * MAX_READING]
    assert found["version"] == [2, 2]


def test_the_first_sample_of_a_window_names_its_device():
    windows = SampleWindows("hardware_windows")

    def gpu(uuid: str, reading: float | None) -> Accelerator:
        return Accelerator("gpu0", {"gpu_percent": [reading]}, uuid, "H200")

    windows.fold([(KEY, batch([1], accelerators=[gpu("none", None)]), 1)])
    windows.fold(
        [
            (KEY, batch([2], accelerators=[gpu("a", 1.0)]), 2),
            (KEY, batch([3], accelerators=[gpu("b", 2.0)]), 3),
        ]
    )
    found = columns(windows)
    assert (found["device_uuid"], found["device"], found["last"]) == (["a"], ["gpu0"], [2.0])


def test_an_older_sample_is_not_the_last_one_and_the_later_message_is_at_the_same_time():
    windows = SampleWindows("hardware_windows")
    windows.fold([(KEY, batch([5, 4], {"x": [1.0, 2.0]}), 1)])
    windows.fold([(KEY, batch([5], {"x": [3.0]}), 2)])
    windows.fold([(KEY, batch([3], {"x": [4.0]}), 3)])
    found = columns(windows)
    assert (found["last"], found["last_at"], found["max"]) == ([3.0], [START_US + 5], [4.0])


def test_a_batch_with_too_many_series_changes_nothing_and_the_others_count():
    windows = SampleWindows("hardware_windows")
    many = batch([1], {f"m{number}": [1.0] for number in range(MAX_SERIES)})
    one_more = batch([1], {"another": [1.0], "m0": [5.0]})
    other = BootKey("acme", "llm", "r", "other")
    first, second, third, fourth = windows.fold(
        [(KEY, many, 1), (KEY, one_more, 2), (other, one_more, 3), (KEY, many, 4)]
    )
    assert (first, third, fourth) == (MAX_SERIES, 2, MAX_SERIES)
    assert isinstance(second, InvalidMessageError)
    found = columns(windows)
    assert found["samples"].count(2) == MAX_SERIES
    assert max(found["max"]) == pytest.approx(5.0)
    assert found["max"].count(5.0) == 1


def test_nothing_new_is_no_block():
    windows = SampleWindows("hardware_windows")
    assert windows.fold([]) == []
    assert windows.fold([(KEY, batch([]), 1)]) == [0]
    assert windows.take_block(CHUNK) is None
