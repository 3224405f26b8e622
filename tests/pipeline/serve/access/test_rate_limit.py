from endpoint_analytics.pipeline.serve.access import rate_limit
from endpoint_analytics.pipeline.serve.access.rate_limit import RateLimit


def test_some_at_once_and_then_one_after_the_other():
    now = [100.0]
    of = RateLimit(3, 5.0, lambda: now[0])
    for _ in range(3):
        assert of.wait_s("a") == 0
        of.count("a")
    assert (of.wait_s("a"), of.wait_s("b")) == (5.0, 0)
    now[0] += 5
    assert of.wait_s("a") == 0
    of.count("a")
    assert of.wait_s("a") == 5.0
    now[0] += 1000
    for _ in range(3):
        assert of.wait_s("a") == 0
        of.count("a")
    assert of.wait_s("a") == 5.0


def test_what_was_not_done_after_all_is_taken_back():
    of = RateLimit(2, 5.0, lambda: 100.0)
    of.count("a")
    of.count("a")
    of.take_back("a")
    of.take_back("b")
    assert (of.wait_s("a"), of.wait_s("b")) == (0, 0)
    of.count("a")
    assert of.wait_s("a") == 5.0


def test_its_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(rate_limit, "MAX_KEYS", 2)
    of = RateLimit(1, 5.0, lambda: 0.0)
    for key in ("a", "b", "a", "c"):
        of.count(key)
    assert of.wait_s("a") > 0
    assert of.wait_s("b") == 0
