import pytest

from endpoint_analytics.infra.local.clickhouse.errors import ClickHouseError
from endpoint_analytics.infra.local.clickhouse.lexer import tokens
from endpoint_analytics.infra.local.clickhouse.statement import Kind, parse_statement, unknown_beginning


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
        (b"KILL QUERY WHERE 0", Kind.KILL),
        (b"KILL MUTATION WHERE 0", Kind.COMMAND),
        (b"SET max_threads = 1", Kind.SESSION),
        (b"USE d", Kind.SESSION),
    ],
)
def test_queries_are_classified(text, kind):
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
def test_an_insert_is_split_from_its_data(text, head, name, data):
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
    ("text", "source"),
    [
        (b"INSERT INTO t FORMAT CSV\n1", b"INSERT INTO t{source}\nFORMAT CSV"),
        (
            b"INSERT INTO t SETTINGS a = 1, b = 2 FORMAT CSV\n1",
            b"INSERT INTO t {source}SETTINGS a = 1, b = 2\nFORMAT CSV",
        ),
        (
            b"INSERT INTO settings (settings) VALUES (1)",
            b"INSERT INTO settings (settings){source}\nFORMAT Values",
        ),
    ],
)
def test_puts_the_source_before_the_settings(text, source):
    found = parse_statement(text).from_file("p", "gzip", "m")
    assert found == source.replace(b"{source}", b"\n/*m*/ FROM INFILE 'p' COMPRESSION 'gzip'\n")


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
        (b"INSERT INTO t FROM/**/infile '/etc/passwd' FORMAT CSV", 78),
        (b"INSERT INTO t SELECT a FROM input('a UInt8') FORMAT CSV\n1", 48),
        (b"KILL QUERY WHERE 1) OR (1", 62),
    ],
)
def test_refuses_what_clickhouse_refuses(text, code):
    with pytest.raises(ClickHouseError) as error:
        parse_statement(text)
    assert error.value.code == code


@pytest.mark.parametrize(
    ("text", "where", "mode", "name"),
    [
        (b"KILL QUERY WHERE query_id = 'x'", b"query_id = 'x'", "", ""),
        (b"kill query where user = 'a' sync format JSON;", b"user = 'a'", "SYNC", "JSON"),
        (b"KILL QUERY WHERE 1 -- all\n ASYNC", b"1 -- all", "ASYNC", ""),
    ],
)
def test_a_kill_becomes_a_select_of_its_queries(text, where, mode, name):
    statement = parse_statement(text)
    assert statement.head.endswith(b"FROM system.client_processes WHERE (" + where + b"\n)")
    assert (statement.mode, statement.format) == (mode, name)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (b"SELECT p.query FROM system.processes AS p", b"SELECT p.query FROM system.client_processes AS p"),
        (b"SELECT queryID ( ), 'queryID()'", b"SELECT 'mine', 'queryID()'"),
    ],
)
def test_a_client_sees_its_own_query_ids(text, seen):
    assert parse_statement(text, b"'mine'").head == seen


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


@pytest.mark.parametrize(
    "text",
    [
        b"INSERT INTO t " + b"," * 200_000,
        b"SELECT " + b"'\\" * 100_000,
        b"SELECT " + b'"`' * 100_000,
        b"SELECT /*" + b"/* " * 70_000,
        b"SELECT " + b"".join(b"$%x" % number for number in range(50_000)),
        b"SELECT " + b"$a$ $b$ " * 30_000,
    ],
    ids=["commas", "strings", "names", "comments", "tags", "heredocs"],
)
def test_scanning_is_linear(text):
    """Each took minutes or hours when scanning was quadratic."""
    assert sum(1 for _ in tokens(text)) > 0
    assert parse_statement(text).kind in (Kind.RESULT, Kind.COMMAND)


@pytest.mark.parametrize("text", [b"'; SELECT 2", b'"; x', b"/* ; SELECT 2", b"`;"])
def test_an_unclosed_token_extends_to_the_end(text):
    """As in the engine, which then reports the error: no second statement is found in an unterminated string."""
    *_, last = tokens(b"SELECT 1, " + text)
    assert (last.kind, last.text) == ("open_end", text)
    with pytest.raises(ClickHouseError):
        parse_statement(b"KILL QUERY WHERE " + text)


def test_a_tag_that_is_not_repeated_is_a_name():
    assert [token.text for token in tokens(b"$a$ $b$ 'x' $a$ $c$ y")] == [b"$a$ $b$ 'x' $a$", b"$c$", b"y"]


@pytest.mark.parametrize(
    "condition",
    [
        "\u2018(\u2019 != \u2018x\u2019) OR (1=1 AND \u2018)\u2019 != \u2018x\u2019",
        "\u201c(\u201d != 'x') OR (1=1 AND \u201c)\u201d != 'x'",
        "1\u00a0",
    ],
)
def test_a_kill_stays_within_its_condition_under_typographic_quotes(condition):
    with pytest.raises(ClickHouseError, match="one condition"):
        parse_statement(f"KILL QUERY WHERE {condition} TEST".encode())
    assert parse_statement("KILL QUERY WHERE query_id = \u2018)\u2019".encode()).kind is Kind.KILL


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (b"SSELECT 1", "SSELECT"),
        (b" /* a */ sselect * FROM t", "sselect"),
        (b"/* a */ drop TABLE t", ""),
        (b"SELECT 1", ""),
        (b"(SELECT 1)", ""),
    ],
)
def test_a_word_that_no_statement_begins_with(text, word):
    assert unknown_beginning(text) == word
