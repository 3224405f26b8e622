"""How long a part waits before it is restarted, and when to give up."""

from endpoint_analytics.infra.local.system.restart import RestartRule

RULE = RestartRule(first_s=0.5, most_s=10, failures=6, steady_s=60)


def test_each_failure_in_a_row_doubles_the_wait_until_it_is_given_up() -> None:
    assert [RULE.wait_s(failures) for failures in range(1, 7)] == [0.5, 1, 2, 4, 8, None]
    assert RestartRule(most_s=3, failures=100).wait_s(99) == 3


def test_a_failure_after_a_long_run_begins_a_new_row() -> None:
    assert RULE.count(4, ran_s=59) == 5
    assert RULE.count(4, ran_s=60) == 1
