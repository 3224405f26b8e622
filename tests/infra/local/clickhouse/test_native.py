import pytest

from endpoint_analytics.infra.local.clickhouse.errors import ClickHouseError
from endpoint_analytics.infra.local.clickhouse.native import BlockRewriter
from endpoint_analytics.infra.local.clickhouse.native_type import parse_native_type

INFO = b"\x01\x00\x02\xff\xff\xff\xff\x00"

# One column each; together they cover every known layout of ClickHouse's Native format.
COLUMNS = """
number, toInt8(-1), toFloat32(1.5), true, toDate(number), toDate32(number), toDateTime(number, 'UTC'),
toDateTime64(number, 6, 'UTC'), toUInt128(number), toInt256(number), generateUUIDv4(), toIPv4('1.2.3.4'),
toIPv6('::1'), toDecimal32(1, 2), toDecimal64(1, 2), toDecimal128(1, 2), toDecimal256(1, 2), toFixedString('abc', 5),
repeat('x', number % 300), toNullable(number), if(number % 3 = 0, NULL, toString(number)), range(number % 5),
arrayMap(x -> range(x), range(number % 4)), map('k', number, 'l', 1), (number, 'x', [1]),
CAST((1, 'y'), 'Tuple(a UInt8, `b c` String)'), toLowCardinality(toString(number % 7)),
toLowCardinality(toNullable(toString(number % 7))), [toLowCardinality('q'), toLowCardinality(toString(number))],
map(toLowCardinality('k'), [toLowCardinality(toString(number))]), CAST('a', 'Enum8(\\'a\\' = 1, \\'b,)\\' = 2)'),
CAST('a', 'Enum16(\\'a\\' = 1)'), NULL, [], (1., 2.)::Point, [(1., 2.), (3., 4.)]::Ring, toIntervalDay(number),
arrayMap(x -> toLowCardinality(toString(x)), range(number % 3)), [toNullable(1), NULL], tuple(toNullable('z'))
"""


def rewrite(data, step):
    rewriter = BlockRewriter()
    pieces = [rewriter.feed(data[at : at + step]) for at in range(0, len(data), step)]
    return b"".join([*pieces, rewriter.finish()])


def test_a_block_gets_its_info_and_each_column_its_byte():
    block = b"\x02\x02\x01a\x05UInt8\x01\x02\x01b\x06String\x01x\x00"
    revised = INFO + b"\x02\x02\x01a\x05UInt8\x00\x01\x02\x01b\x06String\x00\x01x\x00"
    for step in (1, 3, 100):
        assert rewrite(block + block, step) == revised + revised


def test_a_block_without_rows():
    assert rewrite(b"\x01\x00\x01a\x05UInt8", 1) == INFO + b"\x01\x00\x01a\x05UInt8\x00"


def test_every_layout_is_walked_to_its_end(http_query):
    sql = (
        f"SELECT {COLUMNS} FROM numbers(30000) SETTINGS max_block_size = 10000, max_threads = 1 FORMAT Native"
    )
    plain = http_query(sql)
    assert plain.status == 200, plain.text
    revised = rewrite(plain.body, 1 << 16)
    columns = plain.body[0]
    blocks = revised.count(INFO + plain.body[:1])
    assert blocks == 3
    assert len(revised) == len(plain.body) + blocks * (len(INFO) + columns)


def test_the_server_revises_for_clients_that_name_a_revision(http_query):
    sql = "SELECT number, toString(number) FROM numbers(1000) FORMAT Native"
    plain = http_query(sql).body
    assert http_query(sql, client_protocol_version=54460).body == rewrite(plain, len(plain))
    assert http_query(sql, client_protocol_version=54405).body == plain


@pytest.mark.parametrize(
    "name", ["JSON", "Dynamic", "Variant(UInt8, String)", "AggregateFunction(sum, UInt8)", "("]
)
def test_an_unknown_type_is_an_error(name):
    with pytest.raises(ClickHouseError) as error:
        parse_native_type(name)
    assert error.value.code == 48
