"""Kubeconfigs of each kind before a real kube-apiserver: who we are is what it says, or it is refused."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from tests.agents.kubernetes.real.cluster import TOKEN, Cluster, sign

from endpoint_analytics.agents.kubernetes.client import ApiError, KubernetesClient
from endpoint_analytics.agents.kubernetes.kubeconfig import access_of_kubeconfig

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
PODS = "/api/v1/namespaces/models/pods"


def ask(config: Path, path: str = PODS) -> str:
    """Return the kind of the answer."""

    async def run() -> str:
        async with KubernetesClient(access_of_kubeconfig(str(config), None)) as client:
            return json.loads(await client.get(path, {}))["kind"]

    return asyncio.run(run())


def test_a_token_and_a_token_file(models: Cluster):
    assert ask(models.kubeconfig(name="k")) == "PodList"
    (models.directory / "token").write_text(f"{TOKEN}\n")
    assert ask(models.kubeconfig({"tokenFile": "token"}, "k")) == "PodList"
    with pytest.raises(ApiError, match="401"):
        ask(models.kubeconfig({"token": "wrong"}, "k"))
    with pytest.raises(ApiError, match=r'403: pods is forbidden: User "system:anonymous"'):
        ask(models.kubeconfig({}, "k"))


def test_a_client_certificate_and_one_that_is_changed_in_its_files(models: Cluster):
    sign(models.directory, "admin", "/O=system:masters/CN=admin", "client-ca")
    config = models.kubeconfig({"client-certificate": "admin.crt", "client-key": "admin.key"}, "k")
    assert ask(config) == "PodList"
    sign(models.directory, "stranger", "/O=system:masters/CN=admin")

    async def run() -> str:
        for kind in ("crt", "key"):
            (models.directory / f"changing.{kind}").write_bytes(
                (models.directory / f"stranger.{kind}").read_bytes()
            )
        user = {"client-certificate": "changing.crt", "client-key": "changing.key"}
        async with KubernetesClient(access_of_kubeconfig(str(models.kubeconfig(user, "k")), None)) as client:
            with pytest.raises(ApiError, match="401"):
                await client.get(PODS, {})
            for kind in ("crt", "key"):
                (models.directory / f"changing.{kind}").write_bytes(
                    (models.directory / f"admin.{kind}").read_bytes()
                )
            with pytest.raises(ApiError, match="401"):
                await client.get(PODS, {})
            return json.loads(await client.get(PODS, {}))["kind"]

    assert asyncio.run(run()) == "PodList"


def test_a_certificate_that_a_command_gives(models: Cluster):
    sign(models.directory, "admin", "/O=system:masters/CN=admin", "client-ca")
    program = (
        "import json, os, pathlib; asked = json.loads(os.environ['KUBERNETES_EXEC_INFO']);"
        "assert asked['spec']['cluster']['server'].startswith('https://127.0.0.1:'), asked;"
        "assert asked['spec']['cluster']['certificate-authority-data'], asked;"
        f"at = pathlib.Path({str(models.directory)!r});"
        "print(json.dumps({'apiVersion': asked['apiVersion'], 'kind': 'ExecCredential', 'status': {"
        "'clientCertificateData': (at / 'admin.crt').read_text(), 'clientKeyData': (at / 'admin.key').read_text()}}))"
    )
    command = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": ["-c", program],
        "interactiveMode": "IfAvailable",
        "provideClusterInfo": True,
    }
    assert ask(models.kubeconfig({"exec": command}, "k")) == "PodList"


def test_asking_as_another(models: Cluster):
    """An administrator impersonates a less privileged user."""
    with pytest.raises(ApiError, match=r'403: pods is forbidden: User "jane"'):
        ask(models.kubeconfig({"token": TOKEN, "as": "jane"}, "k"))
    assert (
        ask(models.kubeconfig({"token": TOKEN, "as": "jane", "as-groups": ["a", "system:masters"]}, "k"))
        == "PodList"
    )


def test_the_name_that_a_certificate_has_to_have(models: Cluster):
    assert ask(models.kubeconfig(name="k", **{"tls-server-name": "kubernetes.default.svc"})) == "PodList"
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        ask(models.kubeconfig(name="k", **{"tls-server-name": "example.org"}))


def test_trust(models: Cluster):
    pem = base64.b64encode(models.authority.read_bytes()).decode()
    assert ask(models.kubeconfig(name="k", **{"certificate-authority-data": pem})) == "PodList"
    assert ask(models.kubeconfig(name="k", **{"insecure-skip-tls-verify": True})) == "PodList"


@asynccontextmanager
async def tunnels() -> AsyncIterator[tuple[int, list[str]]]:
    """A proxy that opens tunnels; yields its port and their targets."""
    asked: list[str] = []

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked.append(head.split()[1])
        host, _, port = head.split()[1].partition(":")
        there, back = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(carry(reader, back), carry(there, writer), return_exceptions=True)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], asked
        server.close()


@pytest.mark.parametrize(
    "name", [{}, {"tls-server-name": "kubernetes.default.svc"}], ids=["", "another name"]
)
def test_a_proxy_on_the_way(models: Cluster, name: dict[str, str]):
    async def run() -> tuple[str, list[str]]:
        async with tunnels() as (port, asked):
            config = models.kubeconfig(name="k", **{"proxy-url": f"http://127.0.0.1:{port}", **name})
            async with KubernetesClient(access_of_kubeconfig(str(config), None)) as client:
                return json.loads(await client.get(PODS, {}))["kind"], asked

    assert asyncio.run(run()) == ("PodList", [f"127.0.0.1:{models.port}"])
