"""A child ends with its parent process, but outlives the thread that started it."""

import os
import sys
import threading
from pathlib import Path

import psutil
import pytest

from endpoint_analytics.infra.local.system.child import spawn

SLEEP = [sys.executable, "-c", "print('up', flush=True); import time; time.sleep(60)"]


def test_a_child_outlives_the_thread_that_asked_for_it(tmp_path: Path) -> None:
    children = []
    thread = threading.Thread(
        target=lambda: children.append(
            spawn(SLEEP, cwd=tmp_path, output=tmp_path / "out", environ=os.environ)
        )
    )
    thread.start()
    thread.join()
    (child,) = children
    with pytest.raises(psutil.TimeoutExpired):
        psutil.Process(child.pid).wait(0.5)
    child.kill()
    assert child.wait(10) == -9


def test_a_child_has_its_own_session_and_reports_its_exit_status(tmp_path: Path) -> None:
    program = [sys.executable, "-c", "import os; print(os.getsid(0) == os.getpid(), flush=True); os._exit(7)"]
    child = spawn(program, cwd=tmp_path, output=tmp_path / "out", environ=os.environ)
    assert child.wait(10) == 7
    assert (tmp_path / "out").read_text() == "True\n"


def test_what_keeps_a_child_from_starting_is_raised(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        spawn(SLEEP, cwd=tmp_path / "none", output=tmp_path / "out", environ=os.environ)


def test_a_child_that_announces_has_its_words_on_a_pipe_and_its_errors_in_the_file(tmp_path: Path) -> None:
    program = [sys.executable, "-c", "import sys; print('ready'); print('oh', file=sys.stderr)"]
    child = spawn(program, cwd=tmp_path, output=tmp_path / "out", environ=os.environ, announces=True)
    assert child.communicate(timeout=10) == (b"ready\n", None)
    assert (tmp_path / "out").read_text() == "oh\n"
