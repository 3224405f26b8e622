"""The sampling threshold in tracestate; the examples are the specification's."""

import pytest

from endpoint_analytics.agents.otlp.sampling import sampled_share


@pytest.mark.parametrize(
    ("trace_state", "share"),
    [
        ("", None),
        ("congo=t61rcWkgMzE", None),
        ("ot=th:0", 1.0),
        ("ot=th:8", 0.5),
        ("ot=th:c", 0.25),
        ("ot=rv:6e6d1a75832a2f;th:fd70a4", 0.01),
        ("congo=x,ot=th:8;rv:6e6d1a75832a2f,rojo=1", 0.5),
        ("ot=p:8", None),
        ("ot=th:xyz", None),
        ("xot=th:8", None),
        ("ot=th:123456789012345", None),
    ],
)
def test_the_share_of_traces_that_were_kept(trace_state, share):
    assert sampled_share(trace_state) == (None if share is None else pytest.approx(share, rel=1e-5))
