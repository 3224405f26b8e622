"""A real nginx (Debian's nginx-light) before a real server, with the log format of docs/instrument/nginx.md."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

from tests.agents.log.front import Front
from tests.support.parts import ROOT

PAGE = ROOT / "docs/instrument/nginx.md"


def log_format() -> str:
    """The format as documented."""
    return re.search(r"log_format endpoint_analytics[^;]*;", PAGE.read_text())[0]


class Nginx(Front):
    """Listens on `port`, writes `log`; `reopen` does what logrotate's postrotate does."""

    def __init__(self, directory: Path, upstream_port: int) -> None:
        self.log = directory / "access.log"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        configuration = directory / "nginx.conf"
        configuration.write_text(
            f"""
daemon off; pid {directory}/nginx.pid; error_log {directory}/error.log; worker_processes 1;
events {{ worker_connections 4096; }}
http {{
    {log_format()}
    access_log {self.log} endpoint_analytics;
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/f;
    uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
    map $http_upgrade $connection_upgrade {{ default upgrade; "" ""; }}
    upstream model {{ server 127.0.0.1:{upstream_port}; keepalive 64; }}
    client_max_body_size 0;
    server {{
        listen 127.0.0.1:{self.port} backlog=2048;
        location / {{
            proxy_pass http://model; proxy_http_version 1.1; proxy_set_header Connection $connection_upgrade;
            proxy_set_header Upgrade $http_upgrade;
            proxy_buffering off; proxy_request_buffering off;
        }}
    }}
}}
"""
        )
        user = ["-g", "user root;"] if os.getuid() == 0 else []
        self.process = subprocess.Popen(
            ["nginx", "-c", str(configuration), "-p", str(directory), *user], stderr=subprocess.DEVNULL
        )

    @staticmethod
    def is_installed() -> bool:
        return shutil.which("nginx") is not None

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)
