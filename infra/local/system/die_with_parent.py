"""A launcher: asks the kernel to end this process with its parent, then becomes the given program.

It runs as a script (`python -I -S die_with_parent.py PARENT_PID PROGRAM ARGUMENT...`), so it imports none of our
modules. It is a launcher rather than a hook between fork and exec, because such a hook can deadlock in a
parent with threads. Linux only (prctl(2), PR_SET_PDEATHSIG); elsewhere it only becomes the program.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(words: list[str]) -> None:
    """Become `words[1:]`; end at once if the parent, `words[0]`, is already gone."""
    parent, *program = words
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
        if os.getppid() != int(parent):
            return
    os.execv(program[0], program)  # noqa: S606 - the program is the caller's own


if __name__ == "__main__":
    main(sys.argv[1:])
