"""The server as a child process: spawning, signals, and how it ended. Unix only.

Signals are waited for, not handled: they are blocked in every thread of the launcher and taken one by one.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence

ENDING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})
"""The server is expected to exit after one of these."""

PASSED_ON = ENDING | {
    signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCONT,
}  # fmt: skip
"""Servers give each a meaning: gunicorn reloads on HUP and scales on TTIN and TTOU."""

WAITED_FOR = PASSED_ON | {signal.SIGCHLD}

NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""A shell's exit statuses."""


def block_signals() -> None:
    """Block the signals, for `next_signal`; call before any thread starts."""
    signal.pthread_sigmask(signal.SIG_BLOCK, WAITED_FOR)


def next_signal(timeout_s: float | None) -> int | None:
    """Return the next signal, None if none arrives in time."""
    if timeout_s is None:
        return signal.sigwaitinfo(WAITED_FOR).si_signo
    found = signal.sigtimedwait(WAITED_FOR, timeout_s)
    return None if found is None else found.si_signo


def spawn(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Start the command in its own process group and return its process id. Raises OSError.

    In its own group it gets a terminal's Ctrl-C only once, from the launcher.
    """
    return os.posix_spawnp(
        command[0],
        list(command),
        dict(environment),
        setpgroup=0,
        setsigmask=[],
        # Python ignores these; the server must not inherit that.
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
    )


def reap(child: int) -> int | None:
    """Reap every child that has ended; return the exit status of `child`, None while it runs.

    A container's first process gets orphans too. A negative status is the number of the signal that ended the child.
    """
    status = None
    while True:
        try:
            pid, ended = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if pid == 0:
            return status
        if pid == child:
            status = os.waitstatus_to_exitcode(ended)


def exit_status(status: int) -> int:
    """Return the launcher's exit status: the child's, or 128 plus the signal's number, as in a shell."""
    return status if status >= 0 else 128 - status


def reason_of(status: int, out_of_memory: bool | None = None) -> str:
    """Return a description of how the child ended; `out_of_memory`: whether the OOM killer ran, None if unknown."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    hint = {True: ", out of memory", False: "", None: " (out of memory?)"}[out_of_memory]
    return f"killed by {name}{hint if name == 'SIGKILL' else ''}"


def failed(status: int, asked_to_end: bool) -> bool:
    """Whether the child failed: it exited with an error by itself, or by a signal that did not ask it to exit."""
    if status < 0:
        return not (asked_to_end and -status in ENDING)
    return status != 0 and not asked_to_end
