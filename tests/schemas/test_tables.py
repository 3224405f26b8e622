"""The statements of the tables, as text: what ClickHouse servers of other versions than ours would refuse."""

import re

import pytest

from endpoint_analytics.schemas.migrations import read_migrations

VIEWS = [
    statement.sql
    for migration in read_migrations()
    for statement in migration.statements
    if statement.sql.startswith("CREATE VIEW")
]


def name_of(view: str) -> str:
    return view.split("(", maxsplit=1)[0].rsplit(maxsplit=1)[-1]


@pytest.mark.parametrize("view", VIEWS, ids=name_of)
def test_the_comment_of_a_view_does_not_follow_a_table_without_an_alias(view):
    """ClickHouse 25.8 takes COMMENT for the alias then, and the text for an error."""
    before, comment, _ = view.rpartition("\nCOMMENT '")
    assert comment, "a view without a comment"
    last = before.splitlines()[-1]
    assert last != ")"
    assert not re.search(r"\bFROM [a-z_.]+(\(.*\))?$", last), last
