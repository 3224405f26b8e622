"""The server as a child process, and signals: who gets which, and how a child's end is told. Unix only.

Signals are waited for, not handled: they are blocked in every thread of the launcher and taken one by one.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence

ENDING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})
"""After one of these the server is expected to end."""

PASSED_ON = ENDING | {
    signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCONT,
}  # fmt: skip
"""Servers have a meaning for each: gunicorn reloads on HUP and scales on TTIN and TTOU."""

WAITED_FOR = PASSED_ON | {signal.SIGCHLD}

NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""What a shell exits with."""


def block_signals() -> None:
    """Keep the signals for `next_signal`; to be called before any thread starts."""
    signal.pthread_sigmask(signal.SIG_BLOCK, WAITED_FOR)


def next_signal(timeout_s: float | None) -> int | None:
    """Return the next signal, None when none came in time."""
    if timeout_s is None:
        return signal.sigwaitinfo(WAITED_FOR).si_signo
    found = signal.sigtimedwait(WAITED_FOR, timeout_s)
    return None if found is None else found.si_signo


def spawn(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Start the command in a process group of its own and return its process id.

    In that group it gets a terminal's Ctrl-C once, from us. Raises OSError.
    """
    return os.posix_spawnp(
        command[0],
        list(command),
        dict(environment),
        setpgroup=0,
        setsigmask=[],
        # Python ignores these; a server shall not inherit that.
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
    )


def reap(child: int) -> int | None:
    """Take notice of every child that has ended; return the exit status of `child`, None while it lives.

    As a container's first process we get orphans too. A status below zero is the signal that ended it.
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
    """Return what the launcher exits with: the child's status, or 128 and the signal, as a shell does."""
    return status if status >= 0 else 128 - status


def reason_of(status: int, out_of_memory: bool | None = None) -> str:
    """Return in words how the child ended; `out_of_memory` is what the kernel tells of its kills, None: nothing."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    hint = {True: ", out of memory", False: "", None: " (out of memory?)"}[out_of_memory]
    return f"killed by {name}{hint if name == 'SIGKILL' else ''}"


def failed(status: int, asked_to_end: bool) -> bool:
    """Whether the end is a failure: an error of its own, or a signal that is no request to end."""
    if status < 0:
        return not (asked_to_end and -status in ENDING)
    return status != 0 and not asked_to_end
