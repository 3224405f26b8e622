from collections import Counter

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from endpoint_analytics.pipeline.exposition.openmetrics import render
from endpoint_analytics.pipeline.serve.scrape.self_metrics import SelfMetrics


def test_requests_and_durations_are_counted():
    metrics = SelfMetrics()
    metrics.count_request("open_metrics", 200, 0.004)
    metrics.count_request("open_metrics", 200, 0.005)
    metrics.count_request("open_metrics", 503, 7.0)
    metrics.count_request("health", 200, 1.0)
    text = render(metrics.families(3, 2, 1767323045.25, {"requests": 1, "hardware": 0})).decode()
    for line in (
        'query_service_requests_total{route="health",status_code="200"} 1\n',
        'query_service_requests_total{route="open_metrics",status_code="200"} 2\n',
        'query_service_scrape_duration_seconds_bucket{le="0.0025"} 0\n',
        'query_service_scrape_duration_seconds_bucket{le="0.005"} 2\n',
        'query_service_scrape_duration_seconds_bucket{le="5.0"} 2\n',
        'query_service_scrape_duration_seconds_bucket{le="+Inf"} 3\n',
        "query_service_scrape_duration_seconds_count 3\n",
        "query_service_scrape_duration_seconds_sum 7.009\n",
        "query_service_cache_entries 3\n",
        "query_service_tokens 2\n",
        "query_service_data_timestamp_seconds 1767323045.25\n",
        'query_service_paused_partitions{stream="requests"} 1\n',
        'query_service_paused_partitions{stream="hardware"} 0\n',
    ):
        assert line in text
    assert list(text_string_to_metric_families(text))


def test_unknown_freshness_is_left_out():
    text = render(SelfMetrics().families(0, 0, None, None))
    assert b"data_timestamp" not in text
    assert b"paused" not in text


def test_closed_connections_are_counted_by_what_was_waited_for():
    closed = Counter({"head": 3})
    text = render(SelfMetrics(closed).families(0, 0, None, None)).decode()
    closed["answer"] += 1
    assert 'query_service_closed_connections_total{waited_for="head"} 3\n' in text
    assert 'query_service_closed_connections_total{waited_for="answer"} 0\n' in text
    text = render(SelfMetrics(closed).families(0, 0, None, None)).decode()
    assert 'query_service_closed_connections_total{waited_for="answer"} 1\n' in text
