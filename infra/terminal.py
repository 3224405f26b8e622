"""What the terminal shows of a run: one line a part, quiet otherwise. No decision is made here.

Any thread may write. On a terminal the last line may be one that is still in progress: it is rewritten.
"""

from __future__ import annotations

import os
import threading
from typing import TextIO

from endpoint_analytics.infra.supervise import Report

NAME_WIDTH = 15
TEXT_WIDTH = 32


class Terminal:
    """Writes to `stream`; colours and rewritten lines only where that is a terminal (https://no-color.org)."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._coloured = self._live and not os.environ.get("NO_COLOR")
        self._lock = threading.Lock()
        self._waiting: list[str] = []

    def say(self, text: str) -> None:
        """Print lines."""
        with self._lock:
            self._write(text)

    def note(self, text: str) -> None:
        """Print a line that is not of a part's start: a download's progress, a restart."""
        with self._lock:
            self._write("  " + self._paint("2", text))

    def warn(self, text: str) -> None:
        """Print a line that wants to be seen."""
        with self._lock:
            self._write("  " + self._paint("33", "! " + text))

    def done(self, name: str, text: str = "", seconds: float = 0.0) -> None:
        """Print that something of the start is done, and how long it took."""
        with self._lock:
            if name in self._waiting:
                self._waiting.remove(name)
            self._write(
                f"  {self._paint('32', '✓')} {name:<{NAME_WIDTH}} {text:<{TEXT_WIDTH}} "
                + self._paint("2", f"{seconds:5.1f} s")
            )

    def flush(self) -> None:
        """Take back what is shown as under way."""
        with self._lock:
            self._waiting.clear()
            self._write(None)

    def begin(self, name: str) -> None:
        """Show that something is under way, where the line can be taken back."""
        with self._lock:
            self._waiting.append(name)
            self._write(None)

    def show(self, report: Report) -> None:
        """Print what happened to a part."""
        match report.happening:
            case "starting":
                self.begin(report.part)
            case "up":
                self.done(report.part, report.text, report.seconds)
            case "ended":
                self.warn(f"{report.part} {report.text}: started again in {report.seconds:g} s")
            case "stopped":
                self.done(report.part, "stopped", report.seconds)
            case "given up":
                self.warn(f"{report.part} {report.text}: given up")

    def _write(self, text: str | None) -> None:
        clear = "\r\033[K" if self._live else ""
        line = "" if text is None else f"{text}\n"
        waiting = self._paint("2", f"  … {', '.join(self._waiting)}") if self._live and self._waiting else ""
        try:
            self._stream.write(f"{clear}{line}{waiting}")
            self._stream.flush()
        except (OSError, ValueError):  # the terminal is gone; what runs goes on until it is told to end
            self._live = False

    def _paint(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._coloured else text
