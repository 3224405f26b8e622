from prometheus_client.openmetrics.parser import text_string_to_metric_families

from endpoint_analytics.pipeline.serve.openmetrics import render
from endpoint_analytics.pipeline.serve.self_metrics import SelfMetrics


def test_requests_and_durations_are_counted():
    metrics = SelfMetrics()
    metrics.count_request("open_metrics", 200, 0.004)
    metrics.count_request("open_metrics", 200, 0.005)
    metrics.count_request("open_metrics", 503, 7.0)
    metrics.count_request("health", 200, 1.0)
    text = render(metrics.families(3, 2, 1767323045.25)).decode()
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
    ):
        assert line in text
    assert list(text_string_to_metric_families(text))


def test_unknown_freshness_is_left_out():
    assert b"data_timestamp" not in render(SelfMetrics().families(0, 0, None))
