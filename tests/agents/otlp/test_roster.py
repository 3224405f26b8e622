"""Which replicas are known, within the limits."""

from endpoint_analytics.agents.otlp.identity import Identity
from endpoint_analytics.agents.otlp.roster import Roster


def replica(number, namespace="a"):
    return Identity(namespace, "e", f"r{number}")


def test_a_namespace_has_its_own_limit():
    roster = Roster(5, 2)
    for number in range(2):
        roster.add(replica(number))
    assert [roster.refusal(replica(number)) for number in range(3)] == ["", "", "too_many_replicas"]
    assert roster.refusal(replica(1, "b")) == ""


def test_all_have_a_limit_together():
    roster = Roster(2, 2)
    roster.add(replica(1, "a"))
    roster.add(replica(1, "b"))
    assert roster.refusal(replica(1, "c")) == "too_many_replicas_in_all"
    roster.remove(replica(1, "b"))
    assert (roster.refusal(replica(1, "c")), len(roster)) == ("", 1)


def test_twice_is_once():
    roster = Roster(2, 2)
    for _ in range(2):
        roster.add(replica(1))
    for _ in range(2):
        roster.remove(replica(1))
    roster.add(replica(2))
    assert (len(roster), roster.refusal(replica(3))) == (1, "")
