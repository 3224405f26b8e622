"""What the doctor says of how far the pipeline has read, from the rows of its query."""

from endpoint_analytics.infra.doctor.pipeline import check_progress

DAY_S = 86_400


def test_a_partition_that_nobody_read_for_90_days_is_gone():
    """Such as one of a topic that was made again with fewer partitions: its progress stays."""
    found = check_progress([("requests", 0, 2, 0), ("requests", 1, 1, 0), ("requests", 2, 91 * DAY_S, 3)])
    assert found.text == "2 partitions are read, the slowest 2 s behind"
    paused = check_progress([("requests", 0, 2, 0), ("requests", 1, 89 * DAY_S, 3)])
    assert paused.text == f"1 of 2 partitions are behind: requests/1 by {89 * DAY_S} s, 3 messages"


def test_while_no_worker_reads_none_is_gone():
    found = check_progress([("requests", 0, 91 * DAY_S, 2), ("requests", 1, 100 * DAY_S, 3)])
    assert found.text.startswith("2 of 2 partitions are behind: requests/1")
