import time

import pytest

from endpoint_analytics.pipeline.exposition.accept import (
    OPENMETRICS,
    PROMETHEUS,
    PROTOBUF,
    accepts_gzip,
    choose_format,
)

PROMETHEUS_2_26 = "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
PROMETHEUS_2_53 = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
PROMETHEUS_3_PROTOBUF_FIRST = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,"
    + PROMETHEUS_3
)
PROMETHEUS_3_TEXT_ONLY = (
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
DATADOG = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"  # noqa: E501
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, OPENMETRICS),
        ("", OPENMETRICS),
        ("*/*", OPENMETRICS),
        ("application/openmetrics-text", OPENMETRICS),
        ("APPLICATION/OpenMetrics-Text; Version=1.0.0; charset=utf-8", OPENMETRICS),
        ("text/plain", PROMETHEUS),
        ("text/*", PROMETHEUS),
        ("text/plain; version=0.0.4; charset=utf-8", PROMETHEUS),
        ("text/plain; charset=iso-8859-1", PROMETHEUS),
        (PROMETHEUS_2_26, PROMETHEUS),
        (PROMETHEUS_2_53, OPENMETRICS),
        (PROMETHEUS_3, OPENMETRICS),
        (PROMETHEUS_3_PROTOBUF_FIRST, PROTOBUF),
        (PROMETHEUS_3_TEXT_ONLY, PROMETHEUS),
        (DATADOG, OPENMETRICS),
        (BROWSER, OPENMETRICS),
        ("text/plain, application/openmetrics-text", OPENMETRICS),
        ("text/plain;q=0.5, application/openmetrics-text;q=0.4", PROMETHEUS),
        ("text/plain;q=0.5, */*;q=0.6", OPENMETRICS),
        ("*/*, application/openmetrics-text;q=0.1", PROMETHEUS),
        ("*/*;q=0.1, text/plain;q=0", OPENMETRICS),
        ("*/*, application/openmetrics-text;q=0", PROMETHEUS),
        ("application/openmetrics-text;q=0", PROMETHEUS),
        ("text/plain;q=0", OPENMETRICS),
        ("*/*;q=0", OPENMETRICS),
        ("application/*, application/openmetrics-text;q=0.1", OPENMETRICS),
        ("application/vnd.google.protobuf", PROTOBUF),
        ("application/vnd.google.protobuf;encoding=text", OPENMETRICS),
        ("application/json", OPENMETRICS),
        ("application/openmetrics-text;version=2.0.0;q=0.9,text/plain;q=0.1", PROMETHEUS),
        ("application/openmetrics-text;version=2.0.0", OPENMETRICS),
        ('application/openmetrics-text;version="1.0.0", text/plain;q=0.9', OPENMETRICS),
        ('text/plain;x="a,b;q=0";q=0.7, application/openmetrics-text;q=0.6', PROMETHEUS),
        ("application/openmetrics-text;q=2, text/plain;q=0.1", PROMETHEUS),
        (",;,q=1,=", OPENMETRICS),
        ('"', OPENMETRICS),
    ],
)
def test_the_format_that_a_client_gets(accept, expected):
    assert choose_format(accept) is expected


@pytest.mark.parametrize(
    ("accept_encoding", "expected"),
    [
        (None, False),
        ("", False),
        ("gzip", True),
        ("deflate, gzip;q=1.0, *;q=0.5", True),
        ("GZIP", True),
        ("gzip;q=0", False),
        ("*", True),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
        ("zstd, br", False),
        ("identity", False),
    ],
)
def test_gzip_only_for_who_asks(accept_encoding, expected):
    assert accepts_gzip(accept_encoding) is expected


def test_a_long_header_costs_little():
    assert choose_format("a/b;q=0.1," * 1000 + "text/plain") is OPENMETRICS
    assert choose_format('"' * 10_000) is OPENMETRICS
    assert choose_format(";" * 10_000) is OPENMETRICS
    started_s = time.perf_counter()
    choose_format('"\\' * 8_000)  # a quote that never closes, from wherever one starts to read
    assert time.perf_counter() - started_s < 0.5
