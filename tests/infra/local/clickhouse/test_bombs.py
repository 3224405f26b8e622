"""A small request that decompresses to a large query is refused before the server scans it."""

import gzip

import lz4.block
import pytest
from tests.infra.local.clickhouse.conftest import Http

from endpoint_analytics.infra.local.clickhouse.blocks import _SIZES, _checksum

PLAIN_BYTES = 1 << 24


def frame() -> bytes:
    """A ClickHouse compressed block full of commas."""
    packed = lz4.block.compress(b"SELECT 1" + b"," * PLAIN_BYTES, store_size=False)
    block = _SIZES.pack(0x82, _SIZES.size + len(packed), PLAIN_BYTES + 8) + packed
    return _checksum(block) + block


@pytest.mark.parametrize("framed", [True, False])
def test_an_analyst_cannot_fill_the_memory_with_a_query(server, framed):
    ask = Http(server, analyst=True)
    body = frame() if framed else gzip.compress(b"SELECT 1" + b"," * PLAIN_BYTES)
    answer = ask(body, headers={} if framed else {"Content-Encoding": "gzip"}, decompress=int(framed))
    assert "Code: 229" in answer.text


def test_an_analyst_cannot_fill_the_memory_with_a_table_structure(server):
    form = (
        b'--x\r\nContent-Disposition: form-data; name="t_structure"\r\n\r\na String' + b"," * PLAIN_BYTES +
        b'\r\n--x\r\nContent-Disposition: form-data; name="t"; filename="t"\r\n\r\n1\r\n--x--\r\n'
    )  # fmt: skip
    headers = {"Content-Type": "multipart/form-data; boundary=x", "Content-Encoding": "gzip"}
    answer = Http(server, analyst=True)(gzip.compress(form), headers=headers, query="SELECT * FROM t")
    assert "Code: 229" in answer.text
