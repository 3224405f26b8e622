"""How the API server is reached: as a pod, and by kubeconfigs of each kind; over TLS with a real certificate."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.agents.kubernetes.api_server import ApiServer

from endpoint_analytics.agents.command import kubernetes_command as module
from endpoint_analytics.agents.core.config import ConfigurationError
from endpoint_analytics.agents.kubernetes.access import ClusterAccess, access_of_pod
from endpoint_analytics.agents.kubernetes.client import KubernetesClient
from endpoint_analytics.agents.kubernetes.kubeconfig import access_of_kubeconfig
from endpoint_analytics.agents.kubernetes.tokens import AccessError, TokenFile

PODS = "/api/v1/namespaces/models/pods"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


def make_certificate(directory: Path) -> Path:
    """Make server.pem and server.key in the directory, a self-signed certificate for 127.0.0.1."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: it makes a certificate")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=kubernetes",
         "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", directory / "server.key", "-out", directory / "server.pem"],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return directory


@pytest.fixture
def secure(certificate: Path):
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificate / "server.pem"))
    tls.load_cert_chain(certificate / "server.pem", certificate / "server.key")
    tls.verify_mode = ssl.CERT_OPTIONAL
    with ApiServer(tls=tls) as server:
        yield server


def ask(found: ClusterAccess) -> str:
    async def run() -> str:
        async with KubernetesClient(found) as client:
            return json.loads(await client.get(PODS, {}))["kind"]

    return asyncio.run(run())


def config(directory: Path, server: str, user: dict, **cluster: object) -> Path:
    path = directory / "config"
    path.write_text(
        yaml.safe_dump(
            {
                "current-context": "one",
                "clusters": [{"name": "c", "cluster": {"server": server, **cluster}}],
                "contexts": [
                    {"name": "one", "context": {"cluster": "c", "user": "u", "namespace": "models"}},
                    {"name": "two", "context": {"cluster": "c", "user": "u"}},
                ],
                "users": [{"name": "u", "user": user}],
            }
        )
    )
    return path


def service_account(directory: Path, certificate: Path) -> Path:
    (directory / "token").write_text("good\n")
    (directory / "namespace").write_text("models")
    (directory / "ca.crt").write_bytes((certificate / "server.pem").read_bytes())
    return directory


def test_a_pod_uses_its_account(secure, tmp_path, certificate):
    directory = service_account(tmp_path, certificate)
    environment = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(secure.port)}
    found = access_of_pod(directory, environment)
    assert (found.server, found.namespace) == (secure.url, "models")
    assert ask(found) == "List"
    with pytest.raises(ConfigurationError, match="KUBERNETES_SERVICE_HOST"):
        access_of_pod(directory, {})
    (directory / "ca.crt").unlink()
    with pytest.raises(ConfigurationError, match="service account"):
        access_of_pod(directory, environment)


def test_an_authority_that_was_changed_is_trusted_from_then_on(secure, tmp_path, certificate):
    directory = service_account(tmp_path, certificate)
    before = tmp_path / "before"
    before.mkdir()
    (directory / "ca.crt").write_bytes((make_certificate(before) / "server.pem").read_bytes())
    environment = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(secure.port)}
    found = access_of_pod(directory, environment)
    for _ in range(2):
        with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
            ask(found)
    (directory / "ca.crt").write_bytes((certificate / "server.pem").read_bytes())
    with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
        ask(found)
    assert ask(found) == "List"


def test_an_address_of_version_6_is_bracketed(tmp_path, certificate):
    directory = service_account(tmp_path, certificate)
    assert access_of_pod(directory, {"KUBERNETES_SERVICE_HOST": "fd00::1"}).server == "https://[fd00::1]:443"


def test_a_server_that_is_not_trusted_is_not_asked(secure, tmp_path):
    found = access_of_kubeconfig(str(config(tmp_path, secure.url, {"token": "good"})), None)
    with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
        ask(found)
    assert secure.requests == []


def test_a_kubeconfigs_authority_as_file_or_data_or_none(secure, tmp_path, certificate):
    pem = (certificate / "server.pem").read_bytes()
    (tmp_path / "ca.pem").write_bytes(pem)
    for cluster in (
        {"certificate-authority": "ca.pem"},  # relative to the kubeconfig
        {"certificate-authority-data": base64.b64encode(pem).decode()},
        {"insecure-skip-tls-verify": True},
    ):
        assert (
            ask(access_of_kubeconfig(str(config(tmp_path, secure.url, {"token": "good"}, **cluster)), None))
            == "List"
        )


def test_a_kubeconfigs_client_certificate(secure, tmp_path, certificate):
    data = {
        f"client-{name}-data": base64.b64encode((certificate / file).read_bytes()).decode()
        for name, file in (("certificate", "server.pem"), ("key", "server.key"))
    }
    path = config(tmp_path, secure.url, {**data, "token": "good"}, **{"insecure-skip-tls-verify": True})
    assert ask(access_of_kubeconfig(str(path), None)) == "List"
    broken = config(tmp_path, secure.url, {**data, "client-key-data": base64.b64encode(b"no key").decode()})
    with pytest.raises(ConfigurationError, match="certificates cannot be used"):
        access_of_kubeconfig(str(broken), None)


@pytest.mark.parametrize(("user", "cluster", "word"), [
    ({"auth-provider": {"name": "gcp"}}, {}, "auth-provider is not supported"),
    ({"username": "a", "password": "b"}, {}, "username and password are not supported"),
    ({"client-certificate-data": "YQ=="}, {}, "client-certificate and client-key require each other"),
    ({"client-key": "key"}, {}, "client-certificate and client-key require each other"),
    ({"exec": {"command": "login", "interactiveMode": "Always"}}, {}, "login requires a terminal"),
    ({"as-groups": ["admins"]}, {}, "require `as`"),
    ({}, {"proxy-url": "socks5://127.0.0.1:1080"}, "proxy-url is 'socks5://127.0.0.1:1080': expected http"),
    ({}, {"insecure-skip-tls-verify": True, "certificate-authority-data": "YQ=="}, "exclude each other"),
])  # fmt: skip
def test_unsupported_settings_are_refused(tmp_path, user, cluster, word):
    with pytest.raises(ConfigurationError, match=f"context 'one': .*{word}"):
        access_of_kubeconfig(str(config(tmp_path, "https://127.0.0.1:1", user, **cluster)), None)


def test_a_user_who_is_not_there_is_not_nobody(tmp_path):
    path = config(tmp_path, "http://127.0.0.1:1", {})
    path.write_text(path.read_text().replace("user: u", "user: someone"))
    with pytest.raises(ConfigurationError, match="names the user 'someone', which does not exist"):
        access_of_kubeconfig(str(path), None)


def test_whom_a_kubeconfig_asks_as(tmp_path):
    user = {
        "as": "jane",
        "as-uid": "7",
        "as-groups": ["a", "b"],
        "as-user-extra": {"example.org/Scope": ["x"]},
    }
    assert access_of_kubeconfig(str(config(tmp_path, "http://x", user)), None).headers == (
        ("Impersonate-User", "jane"),
        ("Impersonate-Uid", "7"),
        ("Impersonate-Group", "a"),
        ("Impersonate-Group", "b"),
        ("Impersonate-Extra-example.org%2Fscope", "x"),
    )


def test_the_context_that_is_named(tmp_path):
    path = config(tmp_path, "http://127.0.0.1:1/", {})
    assert access_of_kubeconfig(str(path), None).namespace == "models"
    found = access_of_kubeconfig(str(path), "two")
    assert (found.namespace, found.server) == ("default", "http://127.0.0.1:1")
    with pytest.raises(ConfigurationError, match="no context 'three'; it has one, two"):
        access_of_kubeconfig(str(path), "three")


def test_of_several_kubeconfigs_the_first_that_says_it_counts(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir(), two.mkdir()
    first, second = config(one, "http://first", {"token": "1"}), config(two, "http://second", {"token": "2"})
    found = access_of_kubeconfig(f"{tmp_path}/missing:{first}:{second}", None)
    assert (found.server, asyncio.run(found.token.read())) == ("http://first", "1")


USER = "current-context: a, contexts: [{name: a, context: {cluster: c, user: u}}], clusters: [{name: c, cluster: %s}]"


@pytest.mark.parametrize("text", [
    b"a: [", b"clusters: 5", b"- x", b"clusters: [{cluster: {}}]", b"\xff\xfe\x00",
    b"{current-context: a, contexts: [{name: a, context: x}]}",
    b"{%s, users: [{name: u, user: x}]}" % (USER % "{server: 'http://x'}").encode(),
    b"{%s, users: [{name: u, user: {exec: {args: [x]}}}]}" % (USER % "{server: 'http://x'}").encode(),
    b"{%s, users: [{name: u, user: {exec: {command: x, env: [{name: y}]}}}]}" % (USER % "{server: 'http://x'}").encode(),
])  # fmt: skip
def test_a_file_that_is_no_kubeconfig(tmp_path, text):
    path = tmp_path / "config"
    path.write_bytes(text)
    with pytest.raises(ConfigurationError, match=str(path)):
        access_of_kubeconfig(str(path), None)


def test_an_empty_kubeconfig(tmp_path):
    path = tmp_path / "config"
    path.touch()
    with pytest.raises(ConfigurationError, match="has no current context; it has none"):
        access_of_kubeconfig(str(path), None)


def test_no_kubeconfig_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SERVICE_ACCOUNT", tmp_path / "none")
    with pytest.raises(ConfigurationError, match="this is not a pod: set --kubeconfig"):
        module.find_access(None, None, {"KUBECONFIG": str(tmp_path / "missing")})


def test_a_pods_account_goes_before_a_kubeconfig_unless_one_is_named(tmp_path, monkeypatch, certificate):
    monkeypatch.setattr(module, "SERVICE_ACCOUNT", service_account(tmp_path, certificate))
    environment = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    assert module.find_access(None, None, environment).server == "https://10.0.0.1:443"
    path = config(tmp_path, "http://named", {})
    assert module.find_access(str(path), None, environment).server == "http://named"


def test_a_token_file_is_read_again_when_the_server_refuses_it(tmp_path):
    token = TokenFile(tmp_path / "token")
    with pytest.raises(AccessError):
        asyncio.run(token.read())
    (tmp_path / "token").write_text("one\n")
    assert asyncio.run(token.read()) == "one"
    (tmp_path / "token").write_text("two\n")
    assert asyncio.run(token.read()) == "one"
    token.refuse()
    assert asyncio.run(token.read()) == "two"


@pytest.mark.outside
def test_a_command_that_prints_a_token(tmp_path):
    counter = tmp_path / "asked"
    program = (
        "import json, os, pathlib; asked = json.loads(os.environ['KUBERNETES_EXEC_INFO']);"
        f"path = pathlib.Path({str(counter)!r}); path.write_text(path.read_text() + 'x' if path.exists() else 'x');"
        "print(json.dumps({'apiVersion': asked['apiVersion'], 'kind': 'ExecCredential',"
        " 'status': {'token': os.environ['WORD'], 'expirationTimestamp': '2100-01-01T00:00:00Z'}}))"
    )
    command = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": ["-c", program],
        "env": [{"name": "WORD", "value": "good"}],
    }
    token = access_of_kubeconfig(str(config(tmp_path, "http://x", {"exec": command})), None).token

    async def several() -> list[str]:
        return list(await asyncio.gather(*(token.read() for _ in range(3))))

    async def run() -> None:
        assert await several() == ["good"] * 3
        assert counter.read_text() == "x"
        token.refuse()
        await several()
        assert counter.read_text() == "xx"

    asyncio.run(run())


@pytest.mark.outside
@pytest.mark.parametrize("words", [["no-such-command-anywhere"], [sys.executable, "-c", "print('no token')"]])
def test_a_command_that_gives_no_token(tmp_path, words):
    command = {"apiVersion": "client.authentication.k8s.io/v1", "command": words[0], "args": words[1:]}
    token = access_of_kubeconfig(str(config(tmp_path, "http://x", {"exec": command})), None).token
    with pytest.raises(AccessError, match=words[0]):
        asyncio.run(token.read())
