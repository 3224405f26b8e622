"""When a server counts as ready."""

from __future__ import annotations

import http.server
import threading
import time

from endpoint_analytics.agents.run.probe import ReadyProbe


class Slow(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        time.sleep(2.5)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_a_health_check_may_take_longer_than_two_seconds():
    """Like SGLang's health check, which generates a token."""
    with http.server.HTTPServer(("127.0.0.1", 0), Slow) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            assert ReadyProbe(f"http://127.0.0.1:{server.server_port}/health").probe() is None
        finally:
            server.shutdown()
            thread.join()
