"""What the terminal shows of a run: one line per part, and little else. Makes no decisions.

Safe to call from any thread. On a terminal, the last line can show progress: it is rewritten in place.
"""

from __future__ import annotations

import os
import shutil
import threading
from typing import TextIO

from endpoint_analytics.infra.local.supervise import Report

NAME_WIDTH = 15
TEXT_WIDTH = 32


class Terminal:
    """Writes to `stream`; uses colours and rewrites lines only if it is a terminal (https://no-color.org)."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._coloured = self._live and not os.environ.get("NO_COLOR")
        self._lock = threading.Lock()
        self._waiting: dict[str, str] = {}

    def print(self, text: str) -> None:
        """Print lines."""
        with self._lock:
            self._write(text)

    def progress(self, name: str, text: str) -> None:
        """Show the progress of a step: next to its name, or as a new line if lines cannot be rewritten."""
        with self._lock:
            if self._live and name in self._waiting:
                self._waiting[name] = f" ({text})"
                self._write(None)
            else:
                self._write(f"    {text}")

    def warn(self, text: str) -> None:
        """Print a warning."""
        with self._lock:
            self._write("  " + self._paint("33", "! " + text))

    def done(self, name: str, text: str = "", seconds: float = 0.0) -> None:
        """Print that a step is done, and how long it took."""
        with self._lock:
            self._waiting.pop(name, None)
            self._write(
                f"  {self._paint('32', '✓')} {name:<{NAME_WIDTH}} {text:<{TEXT_WIDTH}} "
                + self._paint("2", f"{seconds:5.1f} s")
            )

    def forget(self, *names: str) -> None:
        """Remove these steps from the progress line; all if no names are given."""
        with self._lock:
            for name in names or tuple(self._waiting):
                self._waiting.pop(name, None)
            self._write(None)

    def begin(self, name: str) -> None:
        """Show that a step is in progress, if the line can be rewritten."""
        with self._lock:
            self._waiting[name] = ""
            self._write(None)

    def show(self, report: Report) -> None:
        """Print what happened to a part."""
        match report.event:
            case "starting":
                self.begin(report.part)
            case "up":
                self.done(report.part, report.text, report.seconds)
            case "ended":
                self.forget(report.part)
                self.warn(f"{report.part} {report.text}: restarting in {report.seconds:g} s")
            case "held":
                self.forget(report.part)
                self.warn(f"{report.part} {report.text}: restarting once there is disk space")
            case "stopped":
                self.forget(report.part)
                self.done(report.part, "stopped", report.seconds)
            case "given up":
                self.warn(f"{report.part} {report.text}: giving up")

    def _write(self, text: str | None) -> None:
        clear = "\r\033[K" if self._live else ""
        line = "" if text is None else f"{text}\n"
        steps = ", ".join(f"{name}{progress}" for name, progress in self._waiting.items())
        waiting = self._paint("2", f"  … {steps}"[: self._width()]) if self._live and steps else ""
        try:
            self._stream.write(f"{clear}{line}{waiting}")
            self._stream.flush()
        except (OSError, ValueError):  # the terminal is gone; the run continues until a signal ends it
            self._live = False

    def _width(self) -> int:
        """A wrapped line could not be cleared."""
        return shutil.get_terminal_size().columns - 1

    def _paint(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._coloured else text
