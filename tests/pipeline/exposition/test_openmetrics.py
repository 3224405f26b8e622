import math

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from endpoint_analytics.pipeline.exposition.families import MetricFamily, Sample
from endpoint_analytics.pipeline.exposition.openmetrics import render

EXAMPLES = (
    MetricFamily(
        "latency_distribution",
        "summary",
        "Latency distribution",
        "",
        (
            Sample("", (), 0.006339203, own=(("quantile", "0.5"),)),
            Sample("", (), math.nan, own=(("quantile", "0.99"),)),
            Sample("_count", (), 4),
            Sample("_sum", (), 0.042048857),
        ),
    ),
    MetricFamily(
        "http_requests",
        "counter",
        'By "code", back\\slash\nand line',
        "",
        (Sample("_total", (("replica_id", 'a"b\\c\nd'), ("status_code", "200")), 1152),),
    ),
    MetricFamily("cpu_usage_percent", "gauge", "CPU percent", "percent", (Sample("", (), 12.5),)),
    MetricFamily(
        "replica_state",
        "stateset",
        "State of the replica",
        "",
        (
            Sample("", (("replica_id", "r1"), ("replica_state", "running")), 1),
            Sample("", (("replica_id", "r1"), ("replica_state", "failed")), 0),
        ),
    ),
)


def test_the_text_is_exactly_this():
    assert render(EXAMPLES).decode() == (
        "# HELP latency_distribution Latency distribution\n"
        "# TYPE latency_distribution summary\n"
        'latency_distribution{quantile="0.5"} 0.006339203\n'
        'latency_distribution{quantile="0.99"} NaN\n'
        "latency_distribution_count 4\n"
        "latency_distribution_sum 0.042048857\n"
        '# HELP http_requests By \\"code\\", back\\\\slash\\nand line\n'
        "# TYPE http_requests counter\n"
        'http_requests_total{replica_id="a\\"b\\\\c\\nd",status_code="200"} 1152\n'
        "# HELP replica_state State of the replica\n"
        "# TYPE replica_state stateset\n"
        'replica_state{replica_id="r1",replica_state="running"} 1\n'
        'replica_state{replica_id="r1",replica_state="failed"} 0\n'
        "# HELP cpu_usage_percent CPU percent\n"
        "# TYPE cpu_usage_percent gauge\n"
        "# UNIT cpu_usage_percent percent\n"
        "cpu_usage_percent 12.5\n"
        "# EOF\n"
    )


def test_nothing_is_still_an_exposition():
    assert render(()) == b"# EOF\n"


def test_the_strict_parser_takes_it():
    families = {family.name: family for family in text_string_to_metric_families(render(EXAMPLES).decode())}
    assert [family.type for family in families.values()] == ["summary", "counter", "stateset", "gauge"]
    assert families["cpu_usage_percent"].unit == "percent"


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
ODD = st.text(
    st.sampled_from(['"', "\\", "\n", "n", "a", "{", "}", ",", "=", " ", "#", "é", "\U0001f600"]), max_size=12
)


# The parser strips the ends of a help text, so they are letters here.
@given(value=st.one_of(TEXT, ODD), documentation=st.one_of(TEXT, ODD).map(lambda text: f"a{text}b"))
def test_any_label_value_and_help_come_back(value, documentation):
    family = MetricFamily("m", "gauge", documentation, "", (Sample("", (("a", value), ("b", "x")), 1),))
    (parsed,) = text_string_to_metric_families(render([family]).decode())
    assert parsed.samples[0].labels == {"a": value, "b": "x"}
    assert parsed.documentation == documentation


@given(value=st.floats())
def test_any_number_comes_back(value):
    (parsed,) = text_string_to_metric_families(
        render([MetricFamily("m", "gauge", "h", "", (Sample("", (), value),))]).decode()
    )
    found = parsed.samples[0].value
    assert found == value or (math.isnan(found) and math.isnan(value))
