import math

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from endpoint_analytics.pipeline.exposition.families import MetricFamily, Sample
from endpoint_analytics.pipeline.exposition.prometheus_text import render

EXAMPLES = (
    MetricFamily(
        "latency_distribution",
        "summary",
        "Latency distribution",
        "",
        (
            Sample("", (), math.nan, own=(("quantile", "0.5"),)),
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
    MetricFamily("cpu_usage_percent", "gauge", "CPU percent", "percent", (Sample("", (), math.inf),)),
    MetricFamily("replica_state", "stateset", "State", "", (Sample("", (("replica_state", "running"),), 1),)),
)


def test_the_text_is_exactly_this():
    assert render(EXAMPLES).decode() == (
        "# HELP latency_distribution Latency distribution\n"
        "# TYPE latency_distribution summary\n"
        'latency_distribution{quantile="0.5"} NaN\n'
        "latency_distribution_count 4\n"
        "latency_distribution_sum 0.042048857\n"
        '# HELP http_requests_total By "code", back\\\\slash\\nand line\n'
        "# TYPE http_requests_total counter\n"
        'http_requests_total{replica_id="a\\"b\\\\c\\nd",status_code="200"} 1152\n'
        "# HELP cpu_usage_percent CPU percent\n"
        "# TYPE cpu_usage_percent gauge\n"
        "cpu_usage_percent +Inf\n"
        "# HELP replica_state State\n"
        "# TYPE replica_state gauge\n"
        'replica_state{replica_state="running"} 1\n'
    )


def test_the_classic_parser_takes_it():
    types = {family.name: family.type for family in text_string_to_metric_families(render(EXAMPLES).decode())}
    assert types == {
        "latency_distribution": "summary",
        "http_requests": "counter",
        "cpu_usage_percent": "gauge",
        "replica_state": "gauge",
    }


ODD = st.text(
    st.sampled_from(['"', "\\", "\n", "n", "a", "{", "}", ",", "=", " ", "#", "é", "\U0001f600"]), max_size=12
)


@given(value=ODD)
def test_any_label_value_comes_back(value):
    family = MetricFamily("m", "gauge", "h", "", (Sample("", (("a", value), ("b", "x")), 1),))
    (parsed,) = text_string_to_metric_families(render([family]).decode())
    assert parsed.samples[0].labels == {"a": value, "b": "x"}


# The parser strips the ends of a help text, so they are letters here.
@given(documentation=ODD.map(lambda text: f"a{text}b"))
def test_any_help_comes_back(documentation):
    family = MetricFamily("m", "gauge", documentation, "", (Sample("", (), 1),))
    (parsed,) = text_string_to_metric_families(render([family]).decode())
    assert parsed.documentation == documentation
