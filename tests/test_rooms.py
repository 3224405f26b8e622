"""The map of rooms: floors, circles, and which imports a drawing needs."""

from __future__ import annotations

from tests.support.rooms import BEGIN, END, Rooms, drawn, with_map

ROOMS = Rooms(
    dict.fromkeys("abcde", "a room"),
    {
        "a": frozenset(),
        "b": frozenset("a"),
        "c": frozenset("bda"),
        "d": frozenset("c"),
        "e": frozenset("ca"),
    },
)


def test_floors_and_circles() -> None:
    assert ROOMS.floors == {"a": 0, "b": 1, "c": 2, "d": 2, "e": 3}
    assert ROOMS.climbing == [("c", "d"), ("d", "c")]


def test_what_follows_from_others_is_not_drawn() -> None:
    assert ROOMS.direct == [("b", "a"), ("c", "b"), ("c", "d"), ("d", "c"), ("e", "c")]


def test_the_map_takes_the_place_of_the_one_before() -> None:
    page = with_map(f"before\n{BEGIN}\nold\n{END}\nafter\n", ROOMS)
    assert page == f"before\n{drawn(ROOMS)}\nafter\n"
    assert with_map(page, ROOMS) == page
