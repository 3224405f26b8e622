"""A kube-apiserver, its controllers, kubectl and an etcd, built once from the Go module of Kubernetes: 15 minutes.

    python -m tests.agents.kubernetes.real.kube_apiserver

Nothing but Go and the Go module proxy is needed. One module requires k8s.io/kubernetes, which pins all else.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

VERSION = "1.37.2"
COMMANDS = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
}
DIRECTORY = Path(__file__).parents[4] / "build" / "judges" / f"kubernetes-{VERSION}"


class UnavailableError(Exception):
    """It cannot be built here; the message says why."""


def built() -> Path:
    """Return the directory of the binaries, building them if missing; raises UnavailableError."""
    missing = [name for name in COMMANDS if not (DIRECTORY / name).exists()]
    if missing:
        source = DIRECTORY / "source"
        source.mkdir(parents=True, exist_ok=True)
        _write_module(source)
        for name in missing:
            print(f"==> building {name} {VERSION}", file=sys.stderr, flush=True)
            flags = " ".join(f"-X {each}" for each in _stamps())
            made = source / name
            _go("build", "-mod=mod", "-trimpath", "-ldflags", f"-s -w {flags}", "-o", str(made), COMMANDS[name],
                at=source)  # fmt: skip
            made.rename(DIRECTORY / name)
    return DIRECTORY


def module_directory(module: str, version: str) -> Path:
    """Return the files of a Go module; raises UnavailableError."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    return Path(json.loads(_go("mod", "download", "-json", f"{module}@{version}", at=DIRECTORY))["Dir"])


def _write_module(source: Path) -> None:
    """Write go.mod: Kubernetes's own parts are separate modules, for which its go.mod names no version."""
    kubernetes = module_directory("k8s.io/kubernetes", f"v{VERSION}")
    text = (kubernetes / "go.mod").read_text()
    staged = re.findall(r"^\s*(k8s\.io/\S+) => \./staging/", text, re.MULTILINE)
    version = f"v0.{VERSION.partition('.')[2]}"
    lines = [
        "module judges",
        re.search(r"^go \S+$", text, re.MULTILINE)[0],
        re.search(r"^godebug \S+$", text, re.MULTILINE)[0],
        f"require k8s.io/kubernetes v{VERSION}",
        *(f"replace {each} => {each} {version}" for each in staged),
    ]
    (source / "go.mod").write_text("\n".join(lines) + "\n")


def _stamps() -> list[str]:
    major, minor, _ = VERSION.split(".")
    at = "k8s.io/component-base/version"
    return [f"{at}.gitVersion=v{VERSION}", f"{at}.gitMajor={major}", f"{at}.gitMinor={minor}"]


def _go(*words: str, at: Path) -> str:
    if shutil.which("go") is None:
        raise UnavailableError("Kubernetes cannot be built: there is no go")
    environment = {"CGO_ENABLED": "0", **os.environ, "GOWORK": "off"}
    made = subprocess.run(["go", *words], cwd=at, env=environment, capture_output=True, text=True)
    if made.returncode and (words[0] == "mod" or "requires go >=" in made.stderr):
        raise UnavailableError(f"Kubernetes cannot be built: {(made.stdout + made.stderr).strip()[-2000:]}")
    assert made.returncode == 0, made.stderr[-4000:]
    return made.stdout


if __name__ == "__main__":
    try:
        print(built())
    except UnavailableError as unavailable:
        sys.exit(str(unavailable))
