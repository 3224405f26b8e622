"""A Kubernetes cluster without nodes: etcd, kube-apiserver and the controllers that are named, on free ports.

What a kubelet and a scheduler would write, tests write: a pod's binding and its status.
"""

from __future__ import annotations

import http.client
import json
import shutil
import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import yaml
from tests.support.waiting import eventually

from endpoint_analytics.infra.local.system.port import free_port

Json = dict[str, Any]
TOKEN = "an-administrator"
CONTROLLERS = (
    "horizontal-pod-autoscaler-controller",
    "deployment-controller",
    "replicaset-controller",
    "serviceaccount-controller",
    "namespace-controller",
    "garbage-collector-controller",
)


def sign(
    directory: Path, name: str, subject: str, signer: str = "", names: str = "DNS:localhost,IP:127.0.0.1"
) -> None:
    """Make name.key and name.crt in the directory, signed by `signer` or by itself."""
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", subject,
             "-keyout", directory / f"{name}.key", "-out", directory / f"{name}.crt",
             "-addext", f"subjectAltName={names}"]  # fmt: skip
    if signer:
        words += ["-CA", directory / f"{signer}.crt", "-CAkey", directory / f"{signer}.key",
                  "-addext", "basicConstraints=critical,CA:FALSE"]  # fmt: skip
    subprocess.run(words, check=True, capture_output=True)


class Cluster:
    """Its binaries are in `commands`, its data and logs in `directory`; `controllers` may be empty."""

    def __init__(self, commands: Path, directory: Path, controllers: Sequence[str] = CONTROLLERS) -> None:
        self.commands, self.directory, self.controllers = commands, directory, controllers
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._etcd, self._peer, self.port = (free_port("127.0.0.1") for _ in range(3))
        self.url = f"https://127.0.0.1:{self.port}"
        self.authority = directory / "serving" / "apiserver.crt"

    def __enter__(self) -> Self:
        for name, subject in (
            ("client-ca", "/CN=clients"),
            ("front-ca", "/CN=front"),
            ("accounts", "/CN=accounts"),
        ):
            sign(self.directory, name, subject)
        sign(self.directory, "front-proxy", "/CN=front-proxy-client", "front-ca")
        (self.directory / "tokens.csv").write_text(f"{TOKEN},admin,1,system:masters\n")
        self.kubeconfig()
        self.start("etcd")
        self.start("kube-apiserver")
        self.until_ready()
        if self.controllers:
            self.start("kube-controller-manager")
        return self

    def __exit__(self, *_: object) -> None:
        for name in reversed(list(self._processes)):
            self.stop(name)

    # Its parts

    def start(self, name: str) -> None:
        log = (self.directory / f"{name}.log").open("ab")
        self._processes[name] = subprocess.Popen(
            [self.commands / name, *self._flags(name)], stdout=log, stderr=log
        )

    def stop(self, name: str) -> None:
        process = self._processes.pop(name)
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def until_ready(self) -> None:
        def is_ready() -> bool:
            try:
                return self.ask("GET", "/readyz")[0] == 200
            except (OSError, http.client.HTTPException):
                return False

        eventually(is_ready, bool, 120, f"kube-apiserver is ready (see {self.directory})")

    def backed_up(self) -> Path:
        """Stop the server and its store, and return a copy of what the store holds."""
        self.stop("kube-apiserver")
        self.stop("etcd")
        shutil.copytree(self.directory / "store", self.directory / "backup")
        return self.directory / "backup"

    def restore(self, backup: Path) -> None:
        """Start from a backup."""
        shutil.rmtree(self.directory / "store")
        shutil.copytree(backup, self.directory / "store")

    def _flags(self, name: str) -> list[str]:
        at = self.directory
        client, peer = f"http://127.0.0.1:{self._etcd}", f"http://127.0.0.1:{self._peer}"
        if name == "etcd":
            return [f"--data-dir={at}/store", f"--listen-client-urls={client}", f"--advertise-client-urls={client}",
                    f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}",
                    f"--initial-cluster=default={peer}", "--unsafe-no-fsync"]  # fmt: skip
        if name == "kube-apiserver":
            return [f"--etcd-servers={client}", "--bind-address=127.0.0.1", f"--secure-port={self.port}",
                    f"--cert-dir={at}/serving", "--endpoint-reconciler-type=none", "--authorization-mode=RBAC",
                    f"--token-auth-file={at}/tokens.csv", f"--client-ca-file={at}/client-ca.crt",
                    "--service-account-issuer=https://kubernetes.default.svc",
                    f"--service-account-signing-key-file={at}/accounts.key",
                    f"--service-account-key-file={at}/accounts.crt", "--service-cluster-ip-range=10.0.0.0/24",
                    f"--requestheader-client-ca-file={at}/front-ca.crt",
                    "--requestheader-allowed-names=front-proxy-client",
                    "--requestheader-username-headers=X-Remote-User",
                    "--requestheader-group-headers=X-Remote-Group",
                    "--requestheader-extra-headers-prefix=X-Remote-Extra-",
                    f"--proxy-client-cert-file={at}/front-proxy.crt",
                    f"--proxy-client-key-file={at}/front-proxy.key"]  # fmt: skip
        return [f"--kubeconfig={at}/kubeconfig", "--leader-elect=false", "--use-service-account-credentials",
                f"--service-account-private-key-file={at}/accounts.key", "--secure-port=0",
                f"--controllers={','.join(self.controllers)}"]  # fmt: skip

    # What is asked of it

    def kubeconfig(
        self, user: Json | None = None, name: str = "kubeconfig", namespace: str = "models", **cluster: object
    ) -> Path:
        """Write a kubeconfig, the administrator's unless another user is given."""
        path = self.directory / name
        trust = (
            {} if "insecure-skip-tls-verify" in cluster else {"certificate-authority": str(self.authority)}
        )
        entries = {
            "clusters": [{"name": "c", "cluster": {"server": self.url, **trust, **cluster}}],
            "contexts": [{"name": "one", "context": {"cluster": "c", "user": "u", "namespace": namespace}}],
            "users": [{"name": "u", "user": {"token": TOKEN} if user is None else user}],
        }
        path.write_text(
            yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "current-context": "one", **entries})
        )
        return path

    def ask(self, method: str, path: str, body: Json | None = None, token: str = TOKEN) -> tuple[int, Json]:
        """Return status and body of a request by the administrator, or with `token`."""
        context = ssl.create_default_context(cafile=str(self.authority))
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30, context=context)
        kind = "application/strategic-merge-patch+json" if method == "PATCH" else "application/json"
        try:
            headers = {"Authorization": f"Bearer {token}", "Content-Type": kind}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        return answer.status, json.loads(text) if text.startswith(b"{") else {"text": text.decode()}

    def done(self, method: str, path: str, body: Json | None = None) -> Json:
        """Return the body of a request that must succeed."""
        status, answer = self.ask(method, path, body)
        assert status < 300, (method, path, answer)
        return answer

    def kubectl(self, *words: str | Path, text: str | None = None) -> str:
        made = subprocess.run(
            [self.commands / "kubectl", f"--kubeconfig={self.directory}/kubeconfig", *words],
            input=text, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        return made.stdout

    def account_token(self, namespace: str, name: str) -> str:
        """Return a token of a service account."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        return self.done("POST", path, request)["status"]["token"]

    # What others of a cluster do

    def namespace(self, name: str) -> None:
        """Create a namespace unless it exists."""
        status, answer = self.ask("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        assert status in {201, 409}, answer
        accounts = f"/api/v1/namespaces/{name}/serviceaccounts/default"
        eventually(lambda: self.ask("GET", accounts)[0], lambda status: status == 200, 60, "the account")

    def pod(
        self,
        name: str,
        labels: dict[str, str],
        containers: Sequence[str] = ("server",),
        namespace: str = "models",
    ) -> Json:
        """Make a bare pod."""
        spec = {"containers": [{"name": each, "image": "registry.example/llm:7"} for each in containers],
                "terminationGracePeriodSeconds": 30}  # fmt: skip
        return self.done("POST", f"/api/v1/namespaces/{namespace}/pods",
                         {"metadata": {"name": name, "labels": labels}, "spec": spec})  # fmt: skip

    def deployment(self, name: str, replicas: int, namespace: str = "models") -> Json:
        labels = {"app": name}
        template = {"metadata": {"labels": labels},
                    "spec": {"containers": [{"name": "server", "image": "registry.example/llm:7"}]}}  # fmt: skip
        spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
        return self.done("POST", f"/apis/apps/v1/namespaces/{namespace}/deployments",
                         {"metadata": {"name": name}, "spec": spec})  # fmt: skip

    def bind(self, name: str, namespace: str = "models") -> None:
        """Put the pod on a node, as a scheduler does."""
        target = {"kind": "Node", "name": "gpu-1"}
        self.done("POST", f"/api/v1/namespaces/{namespace}/pods/{name}/binding",
                  {"metadata": {"name": name}, "target": target})  # fmt: skip

    def serve(self, name: str, at: str, namespace: str = "models") -> None:
        """All containers run since `at` and are ready, as a kubelet says."""
        path = f"/api/v1/namespaces/{namespace}/pods/{name}"
        containers = [each["name"] for each in self.done("GET", path)["spec"]["containers"]]
        statuses = [{"name": each, "state": {"running": {"startedAt": at}}, "ready": True, "started": True,
                     "restartCount": 0, "image": "llm:7", "imageID": "sha256:7"} for each in containers]  # fmt: skip
        conditions = [{"type": each, "status": "True", "lastTransitionTime": at}
                      for each in ("PodScheduled", "Initialized", "ContainersReady", "Ready")]  # fmt: skip
        status = {
            "phase": "Running",
            "startTime": at,
            "conditions": conditions,
            "containerStatuses": statuses,
        }
        self.done("PATCH", f"{path}/status", {"status": status})
