"""The true numbers of a range, summed in SQL from the stored rows, to compare the page with."""

from __future__ import annotations

from collections import Counter

from endpoint_analytics.pipeline.store.connect import Client

STATUSES = """
SELECT sumMap(status_codes, status_counts), sum(aborted_pending + aborted_streaming), sum(finished)
FROM request_windows FINAL
WHERE namespace = 'acme' AND endpoint = {endpoint:String} AND ({replica:String} = '' OR replica_id = {replica:String})
  AND window_start >= toDateTime({begin:Int64}, 'UTC') AND window_start < toDateTime({end:Int64}, 'UTC')
"""
QUANTILE = """
SELECT sketchQuantile(merged.1, merged.2, {q:Float64}) / 1e6 FROM (
SELECT sumMap(latency_buckets, latency_counts) AS merged
FROM request_windows FINAL
WHERE namespace = 'acme' AND endpoint = 'llm'
  AND window_start >= toDateTime({begin:Int64}, 'UTC') AND window_start < toDateTime({end:Int64}, 'UTC'))
"""
OLDEST = """
SELECT max(oldest_pending_us) / 1e6 FROM request_windows FINAL
WHERE namespace = 'acme' AND endpoint = 'llm'
  AND window_start >= toDateTime({begin:Int64}, 'UTC') AND window_start < toDateTime({end:Int64}, 'UTC')
"""
MEAN_OF_SAMPLES = """
SELECT avg(mean) FROM (
    SELECT sum(sum) / sum(samples) AS mean FROM {table:Identifier} FINAL
    WHERE namespace = 'acme' AND endpoint = 'llm' AND metric = {metric:String}
      AND window_start >= toDateTime({begin:Int64}, 'UTC') AND window_start < toDateTime({end:Int64}, 'UTC')
    GROUP BY replica_id, device)
"""


class Truth:
    """Queries ClickHouse directly, bypassing our code."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def statuses(
        self, begin: int, end: int, replica: str = "", endpoint: str = "llm"
    ) -> tuple[Counter[int], int, int]:
        """How often each status was sent; how many requests were aborted; how many finished."""
        parameters = {"begin": begin, "end": end, "replica": replica, "endpoint": endpoint}
        ((codes, counts), aborted, finished) = self._client.query(STATUSES, parameters).result_rows[0]
        return Counter(dict(zip(codes, counts, strict=True))), aborted, finished

    def quantile(self, q: float, begin: int, end: int) -> float:
        """The latency quantile `q`, in seconds."""
        return self._client.query(QUANTILE, {"q": q, "begin": begin, "end": end}).result_rows[0][0]

    def oldest(self, begin: int, end: int) -> float:
        """The wait of the oldest pending request, in seconds."""
        return self._client.query(OLDEST, {"begin": begin, "end": end}).result_rows[0][0]

    def hardware(self, metric: str, begin: int, end: int) -> float:
        """The mean over replicas and devices."""
        return self._mean("hardware_windows", metric, begin, end)

    def engine(self, metric: str, begin: int, end: int) -> float:
        """The mean over replicas."""
        return self._mean("engine_windows", metric, begin, end)

    def _mean(self, table: str, metric: str, begin: int, end: int) -> float:
        parameters = {"table": table, "metric": metric, "begin": begin, "end": end}
        return self._client.query(MEAN_OF_SAMPLES, parameters).result_rows[0][0]


def by_class(statuses: Counter[int]) -> Counter[str]:
    """Statuses added up by class."""
    found: Counter[str] = Counter()
    for status, number in statuses.items():
        found[f"{status // 100}xx"] += number
    return found
