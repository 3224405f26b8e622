from endpoint_analytics.infra.local.clickhouse.errors import (
    NAMES,
    exception_block,
    http_status,
    parse_engine_error,
    refusal,
)


def test_what_a_client_library_puts_before_the_code_is_cut():
    error = parse_engine_error("Streaming insert append failed: Code: 27. DB::Exception: no. (X)\n")
    assert (error.code, error.status, error.text) == (27, 400, "Code: 27. DB::Exception: no. (X)")


def test_the_version_of_a_servers_error_is_cut_and_one_in_a_quoted_query_is_not():
    """In linear time: it was quadratic, and blocked the server for hours with this text."""
    quoted = ") (version " * 200_000
    error = parse_engine_error(f"Code: 47. DB::Exception: {quoted}(X) (version 26.9 (build)). (X)")
    assert error.text == f"Code: 47. DB::Exception: {quoted}(X)"


def test_an_error_without_a_code_has_one_all_the_same():
    error = parse_engine_error("broken")
    assert (error.code, error.status) == (1001, 500)
    assert error.text == "Code: 1001. DB::Exception: broken (STD_EXCEPTION)"


def test_the_block_that_ends_a_broken_result():
    assert exception_block(refusal(394, "Gone."), "t" * 16) == (
        b"\r\n__exception__\r\ntttttttttttttttt\r\nCode: 394. DB::Exception: Gone. (QUERY_WAS_CANCELLED)\n"
        b"54 tttttttttttttttt\r\n__exception__\r\n"
    )


def test_codes_and_names_are_the_engines(http_query):
    for code, name in NAMES.items():
        assert http_query(f"SELECT errorCodeToName({code})").text == f"{name}\n"
    named = {
        "AUTHENTICATION_FAILED": 403,
        "CANNOT_COMPILE_REGEXP": 400,
        "CANNOT_OPEN_FILE": 503,
        "CANNOT_PARSE_INPUT_ASSERTION_FAILED": 400,
        "CANNOT_SCHEDULE_TASK": 503,
        "UNSUPPORTED_MEDIA_TYPE": 415,
        "ACCESS_DENIED": 403,
        "CANNOT_PARSE_IPV4": 400,
        "CANNOT_PARSE_UUID": 400,
        "HTTP_LENGTH_REQUIRED": 411,
        "ILLEGAL_COLUMN": 400,
        "NOT_IMPLEMENTED": 501,
        "QUERY_IS_TOO_LARGE": 413,
        "REQUIRED_PASSWORD": 401,
        "SYNTAX_ERROR": 400,
        "TIMEOUT_EXCEEDED": 408,
        "TOO_BIG_AST": 400,
        "TYPE_MISMATCH": 400,
        "UNKNOWN_DATABASE": 404,
        "UNKNOWN_FORMAT": 404,
        "UNKNOWN_IDENTIFIER": 404,
        "UNKNOWN_ROLE": 404,
        "UNKNOWN_SETTING": 404,
        "UNKNOWN_TABLE": 404,
        "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE": 400,
    }
    codes = http_query(
        "SELECT number, errorCodeToName(number) FROM numbers(1100) WHERE errorCodeToName(number) != ''"
    )
    by_name = {name: int(code) for code, name in (line.split("\t") for line in codes.text.splitlines())}
    assert {name: http_status(by_name[name]) for name in named} == named


def test_a_syntax_error_quotes_only_what_the_client_sent(analyst_query):
    for query, where in (
        ("SELECT 1 +", "Syntax error: failed at the end of the query. "),
        ("SELECT FROM x y z w", "Syntax error: failed at position 13 (x) (line 1, col 13): x y z w. "),
    ):
        answer = analyst_query(query)
        assert (answer.status, answer.text.startswith(f"Code: 62. DB::Exception: {where}")) == (400, True)


def test_a_misspelt_word_of_an_analyst_is_a_syntax_error(analyst_query):
    assert analyst_query("sselect 1").text.startswith(
        "Code: 62. DB::Exception: Syntax error: no statement begins with 'sselect'. (SYNTAX_ERROR)"
    )
    assert analyst_query("/* a */ DROP TABLE t").text.startswith("Code: 164.")
