import gzip
import struct
import zlib

import lz4.frame
import pytest

from endpoint_analytics.infra.local.clickhouse.blocks import _checksum, pack_blocks
from endpoint_analytics.infra.local.clickhouse.decoding import make_decoder
from endpoint_analytics.infra.local.clickhouse.encoding import choose_encoding, make_encoder
from endpoint_analytics.infra.local.clickhouse.errors import ClickHouseError

DATA = b"some data " * 1000


def decode(name, packed, step=7):
    decoder = make_decoder(name)
    plain = b"".join(b"".join(decoder.decode(packed[at : at + step])) for at in range(0, len(packed), step))
    decoder.finish()
    return plain


@pytest.mark.parametrize("name", ["zstd", "lz4", "gzip", "deflate"])
def test_what_is_encoded_piece_by_piece_is_decoded(name):
    encoder = make_encoder(name)
    packed = encoder.encode(DATA) + encoder.encode(DATA) + encoder.finish()
    assert len(packed) < len(DATA)
    assert decode(name, packed) == DATA * 2


@pytest.mark.parametrize(("name", "pack"), [("lz4", lz4.frame.compress), ("gzip", gzip.compress)])
def test_frames_may_follow_one_another(name, pack):
    assert decode(name, pack(DATA) + pack(b"x")) == DATA + b"x"


@pytest.mark.parametrize("name", ["zstd", "lz4", "gzip", "deflate"])
def test_a_small_body_that_grows_comes_out_in_pieces(name):
    encoder = make_encoder(name)
    packed = encoder.encode(bytes(20 << 20)) + encoder.finish()
    sizes = [len(piece) for piece in make_decoder(name).decode(packed)]
    assert sum(sizes) == 20 << 20
    assert max(sizes) <= 1 << 20


def test_blocks_of_clickhouse():
    packed = pack_blocks(DATA) + pack_blocks(b"") + pack_blocks(b"abc")
    assert decode("clickhouse", packed) == DATA + b"abc"
    plain = struct.pack("<BII", 0x02, 3 + 9, 3) + b"abc"
    assert decode("clickhouse", _checksum(plain) + plain) == b"abc"


def test_a_block_with_another_checksum_is_refused():
    packed = bytearray(pack_blocks(DATA))
    packed[-1] ^= 1
    with pytest.raises(ClickHouseError) as error:
        decode("clickhouse", bytes(packed))
    assert error.value.code == 40


@pytest.mark.parametrize("name", ["zstd", "lz4", "gzip", "deflate", "clickhouse"])
def test_garbage_and_cut_bodies_are_errors(name):
    for packed in (b"\xee" * 64, zlib.compress(DATA)[:-5] if name == "deflate" else b"\x00\x01"):
        with pytest.raises(ClickHouseError) as error:
            decode(name, packed, step=64)
        assert error.value.code == 271


def test_an_unknown_coding_is_an_error():
    with pytest.raises(ClickHouseError, match="snappy"):
        make_decoder("snappy")


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [("gzip, deflate", "gzip"), ("lz4,zstd", "zstd"), ("lz4", "lz4"), ("br", ""), ("", ""), ("gzip;q=0", "")],
)
def test_the_best_accepted_coding_is_chosen(accepted, chosen):
    assert choose_encoding(accepted) == chosen
