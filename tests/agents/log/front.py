"""What logging front servers share: when they answer, how they reopen their log, one behaviour suite."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading

from tests.agents.behaviours import Behaviours, Seen, agree, ask
from tests.support.waiting import eventually


class Front:
    """A server that listens on `port`; `process` is its process."""

    port: int
    process: subprocess.Popen[bytes]

    def wait(self) -> None:
        def answers() -> bool:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                return False
            return True

        eventually(answers, bool, 30, type(self).__name__)

    def reopen(self) -> None:
        self.process.send_signal(signal.SIGUSR1)


class TimedBehaviours(Behaviours):
    """The shared suite for logs that report the wait separately from the duration."""

    def test_times_are_reported_apart(self, captured):
        seen = Seen()
        timer = threading.Timer(0.7, captured.control, ["release"])
        timer.start()
        ask(captured.port, seen, "/wait_stream")
        timer.join()
        agree(captured, seen)
        totals = captured.reader.totals
        assert totals.duration_us >= 600_000
        assert totals.wait_us <= totals.duration_us - 500_000
