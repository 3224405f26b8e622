"""Why a receiver cannot be reached by TLS, and how to fix it: with real certificates."""

from __future__ import annotations

import asyncio
import ssl

import pytest
import trustme
from tests.pipeline.push.test_sender import MESSAGE, Clock, in_a_loop

from endpoint_analytics.pipeline.push.sender import Sender

pytestmark = pytest.mark.outside

CA, ANOTHER_CA = trustme.CA(), trustme.CA()


@pytest.mark.parametrize(
    ("ca", "host", "scheme", "hint"),
    [
        (ANOTHER_CA, "127.0.0.1", "https", "set --ca-file"),
        (CA, "elsewhere.example", "https", "must be for the host in --endpoint"),
        (CA, "127.0.0.1", "http", "is it http or https?"),
        (CA, None, "https", "let --endpoint begin with http://"),
    ],
)
@in_a_loop
async def test_a_mistake_in_tls(ca, host, scheme, hint, caplog):
    """The receiver has a certificate of CA for `host`, or no TLS; the sender trusts `ca`."""
    of_server = None
    if host is not None:
        of_server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        CA.issue_cert(host).configure_cert(of_server)
    trusted = ssl.create_default_context()
    ca.configure_trust(trusted)

    async def answer_in_text(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    clock = Clock()
    async with await asyncio.start_server(answer_in_text, "127.0.0.1", 0, ssl=of_server) as server:
        url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/metrics"
        async with Sender(url, {}, trusted, clock, clock.sleep) as sender:
            assert not await sender.send(MESSAGE, 2)
    assert hint in caplog.text
