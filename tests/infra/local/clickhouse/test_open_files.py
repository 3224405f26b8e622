"""`file()` is refused in every spelling, and nothing else is refused because of its name."""

import pytest

from endpoint_analytics.infra.local.clickhouse.errors import ClickHouseError
from endpoint_analytics.infra.local.clickhouse.open_files import refuse_open_files


@pytest.mark.parametrize(
    "query",
    [
        "SELECT file('/dev/fd/3')",
        "SELECT file /* here */ ('/dev/fd/3')",
        "SELECT `file`('/dev/fd/3'), 1",
        'SELECT "file"(p) FROM t',
        r"SELECT `f\x69le`('/dev/fd/3')",
        "SELECT * APPLY(file) FROM t",
        "SELECT * APPLY file FROM t",
        "SELECT 1 AS a$x$, file('/dev/fd/3') AS b$x$",
        "SELECT $a b$ ' $a b$, file('/dev/fd/3') -- '",
        "SELECT \N{LEFT SINGLE QUOTATION MARK}'\N{RIGHT SINGLE QUOTATION MARK}, file('/dev/fd/3')",
        "CREATE FUNCTION f AS x -> file(x)",
        "SELECT arrayMap(file, ['/dev/fd/3'])",
        "SELECT arrayMap((file), ['/dev/fd/3'])",
        'SELECT arrayMap("file", a)',
        "SELECT arrayMap(`f\\Nile`, a)",
        "SELECT arrayFilter(file/**/AS f, a)",
        "SELECT arrayMap(\N{LEFT DOUBLE QUOTATION MARK}file\N{RIGHT DOUBLE QUOTATION MARK}, a)",
        "SELECT \N{LEFT SINGLE QUOTATION MARK}\\\N{RIGHT SINGLE QUOTATION MARK}, arrayMap(file, a) -- '",
        "SELECT 1\N{NO-BREAK SPACE}, 'file'",  # where our lexer is unsure, even in strings
    ],
)
def test_a_call_is_refused(query):
    with pytest.raises(ClickHouseError, match=r"file\(\) is not allowed"):
        refuse_open_files(query.encode())


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 'file(1)' FROM t -- file(2)",
        "SELECT a AS `größe`, 'file' FROM t",
        "SELECT \N{LEFT SINGLE QUOTATION MARK}file\N{RIGHT SINGLE QUOTATION MARK}",
        "SELECT profile(1), file_size(2)",
        "SELECT $x$ file(1) $x$",
        r"SELECT match(a, '^\\d+$') AS `b`",
        "SELECT 'Zürich'",
    ],
)
def test_similar_text_is_not_refused(query):
    refuse_open_files(query.encode())


def test_the_name_is_refused_as_an_identifier_parameter():
    refuse_open_files(b"SELECT {a:String}, * FROM {t:Identifier}", {"a": "file(1)", "t": "events"})
    refuse_open_files(b"SELECT {a:String}", {"a": "file"})
    with pytest.raises(ClickHouseError, match=r"file\(\) is not allowed"):
        refuse_open_files(b"SELECT arrayMap({f: Identifier}, a)", {"f": "file"})
