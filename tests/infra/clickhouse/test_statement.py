import pytest

from endpoint_analytics.infra.clickhouse.errors import ClickHouseError
from endpoint_analytics.infra.clickhouse.lexer import tokens
from endpoint_analytics.infra.clickhouse.statement import Kind, parse_statement


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (b"SELECT 1", Kind.RESULT),
        (b"  -- a comment\n (select 1) union all (select 2);", Kind.RESULT),
        (b"WITH 1 AS x SELECT x", Kind.RESULT),
        (b"SHOW TABLES", Kind.RESULT),
        (b"WITH 1 AS x INSERT INTO t SELECT x", Kind.COMMAND),
        (b"INSERT INTO t SELECT 1", Kind.COMMAND),
        (b"INSERT INTO t (a) WITH 1 AS x SELECT x", Kind.COMMAND),
        (b"CREATE TABLE t (a Int8) ENGINE = Memory", Kind.COMMAND),
        (b"KILL QUERY WHERE 0", Kind.COMMAND),
        (b"SET max_threads = 1", Kind.SESSION),
        (b"USE d", Kind.SESSION),
    ],
)
def test_tells_what_a_query_is(text, kind):
    assert parse_statement(text).kind is kind


@pytest.mark.parametrize(
    ("text", "head", "name", "data"),
    [
        (b"INSERT INTO t FORMAT CSV\n1,2\n", b"INSERT INTO t", "CSV", b"1,2\n"),
        (b"INSERT INTO t (a, b) FORMAT Native\r\n\x00\xff'", b"INSERT INTO t (a, b)", "Native", b"\x00\xff'"),
        (b"insert into t values (1, 'x;')", b"insert into t", "Values", b" (1, 'x;')"),
        (b"INSERT INTO t SETTINGS a=1 FORMAT CSV 1", b"INSERT INTO t SETTINGS a=1", "CSV", b"1"),
        (
            b"INSERT INTO `format` (`values`) VALUES (1)",
            b"INSERT INTO `format` (`values`)",
            "Values",
            b" (1)",
        ),
        (
            b"INSERT INTO FUNCTION null('a Int8') FORMAT CSV\n1",
            b"INSERT INTO FUNCTION null('a Int8')",
            "CSV",
            b"1",
        ),
        (b"INSERT INTO t FORMAT CSV", b"INSERT INTO t", "CSV", b""),
    ],
)
def test_cuts_an_insert_from_its_data(text, head, name, data):
    statement = parse_statement(text)
    assert (statement.kind, statement.head, statement.format) == (Kind.INSERT, head, name)
    assert text[statement.data_at :] == data


@pytest.mark.parametrize(
    ("text", "into"),
    [
        (b"SELECT 1", b"SELECT 1\n/*m*/ INTO OUTFILE 'p' TRUNCATE FORMAT CSV\n"),
        (b"SELECT 1 -- x\n;", b"SELECT 1\n/*m*/ INTO OUTFILE 'p' TRUNCATE FORMAT CSV\n"),
        (b"SELECT 1 FORMAT JSON", b"SELECT 1 \n/*m*/ INTO OUTFILE 'p' TRUNCATE\nFORMAT JSON"),
        (
            b"SELECT 'FORMAT JSON' format TSV settings a=1",
            b"SELECT 'FORMAT JSON' \n/*m*/ INTO OUTFILE 'p' TRUNCATE\nformat TSV settings a=1",
        ),
        (b"SELECT 1 AS format", b"SELECT 1 AS format\n/*m*/ INTO OUTFILE 'p' TRUNCATE FORMAT CSV\n"),
        (b"SELECT format FROM t", b"SELECT format FROM t\n/*m*/ INTO OUTFILE 'p' TRUNCATE FORMAT CSV\n"),
    ],
)
def test_puts_the_destination_before_the_format(text, into):
    assert parse_statement(text).into("p", "CSV", "m") == into


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"", 62),
        (b" -- nothing\n;", 62),
        (b"SELECT 1; SELECT 2", 62),
        (b"\xff\xfe", 62),
        (b"123", 62),
        (b"exit;", 62),
        (b"SELECT 1 INTO OUTFILE '/tmp/x'", 358),
        (b"INSERT INTO t FROM INFILE '/etc/passwd' FORMAT CSV", 78),
    ],
)
def test_refuses_what_clickhouse_refuses(text, code):
    with pytest.raises(ClickHouseError) as error:
        parse_statement(text)
    assert error.value.code == code


def test_tokens_know_strings_comments_names_and_depth():
    text = b"a 'it''s\\'' /* ' */ `b``c` (1, $x$ ' $x$) -- end"
    assert [(token.text, token.depth) for token in tokens(text)] == [
        (b"a", 0),
        (b"'it''s\\''", 0),
        (b"`b``c`", 0),
        (b"(", 0),
        (b"1", 1),
        (b",", 1),
        (b"$x$ ' $x$", 1),
        (b")", 0),
    ]
