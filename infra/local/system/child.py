"""A child process that never outlives its parent, even a killed one. Knows nothing of what the child runs."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

LAUNCHER = Path(__file__).with_name("die_with_parent.py")


def spawn(
    argv: Sequence[str],
    *,
    cwd: Path,
    output: Path,
    environ: Mapping[str, str],
    pass_fds: Sequence[int] = (),
    announces: bool = False,
) -> subprocess.Popen[bytes]:
    """Start `argv` (its first word an absolute path) in its own session, with its output in a file.

    With `announces`, only stderr goes to the file, and stdout is a pipe, `stdout` of the returned process.
    The kernel ties a child's life to the *thread* that forked it. The child is therefore forked by a dedicated
    thread that lives as long as it does, so a caller can start a child from a short-lived thread.
    """
    started: queue.SimpleQueue[subprocess.Popen[bytes] | BaseException] = queue.SimpleQueue()

    def fork_and_stay() -> None:
        launcher = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid())]
        try:
            with output.open("wb") as file:
                child = subprocess.Popen(
                    [*launcher, *argv],
                    cwd=cwd,
                    env=dict(environ),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE if announces else file,
                    stderr=file if announces else subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=pass_fds,
                )
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            started.put(error)
            return
        started.put(child)
        with suppress(ChildProcessError):  # reaped when it is polled
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    threading.Thread(target=fork_and_stay, name="child-parent", daemon=True).start()
    child = started.get()
    if isinstance(child, BaseException):
        raise child
    return child
