"""A real HAProxy (Debian's) before a real server, with the configuration of docs/instrument/haproxy.md."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import textwrap
from pathlib import Path

from tests.agents.log.front import Front
from tests.support.parts import ROOT

PAGE = ROOT / "docs/instrument/haproxy.md"


def configuration(port: int, upstream_port: int) -> str:
    """The documented configuration, except for the ports and a server timeout that tests can wait for."""
    text = textwrap.dedent(re.search(r"```haproxy\n(.*?)```", PAGE.read_text(), re.DOTALL)[1])
    return (
        text.replace("bind :8080", f"bind 127.0.0.1:{port} backlog 2048")
        .replace("127.0.0.1:8000", f"127.0.0.1:{upstream_port}")
        .replace("timeout server 1h", "timeout server 3s")
    )


class HAProxy(Front):
    """Listens on `port`; its standard output is appended to `log`, as documented."""

    def __init__(self, directory: Path, upstream_port: int) -> None:
        self.log = directory / "haproxy.log"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        path = directory / "haproxy.cfg"
        path.write_text(f"global\n    maxconn 4096\n\n{configuration(self.port, upstream_port)}")
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                ["haproxy", "-db", "-f", str(path)], stdout=output, stderr=subprocess.DEVNULL
            )

    @staticmethod
    def is_installed() -> bool:
        return shutil.which("haproxy") is not None

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
