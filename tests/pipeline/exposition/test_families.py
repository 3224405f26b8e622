"""Labels that samples share, and families that are made while they are rendered."""

from collections.abc import Iterator

import pytest

from endpoint_analytics.pipeline.exposition import openmetrics, prometheus_text, protobuf
from endpoint_analytics.pipeline.exposition.families import ByLabels, MetricFamily, Sample


def families() -> Iterator[MetricFamily]:
    """Yield families whose labels nobody else keeps."""
    for family in range(20):
        samples = (
            Sample("", (("replica_id", f"{family}-{n}"),), n, own=(("gpu", f"gpu{family}{n}"),))
            for n in range(3)
        )
        yield MetricFamily(f"family_{family}", "gauge", "Help", "", tuple(samples))


@pytest.mark.parametrize("form", [openmetrics, prometheus_text, protobuf], ids=lambda form: form.__name__)
def test_families_may_be_made_while_they_are_rendered(form):
    """The identity of labels that no longer exist is given to later ones, which have other names and values."""
    assert form.render(families()) == form.render(list(families()))


def test_labels_are_made_once_and_kept():
    made = []
    by_labels = ByLabels(lambda labels: made.append(labels) or "text")
    for number in range(100):
        labels = (("replica_id", str(number)),)
        assert id(labels) not in by_labels
        assert by_labels.add(labels) == by_labels.get(id(labels)) == "text"
    assert len(made) == len(by_labels) == 100
