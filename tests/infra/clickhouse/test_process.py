"""The server's life: starting, stopping, being killed, and what of the data is there afterwards."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from endpoint_analytics.infra.clickhouse.process import ClickHouseProcess, StartError

from .conftest import Http

_PARENT = """
import sys, time
from pathlib import Path
from endpoint_analytics.infra.clickhouse.process import ClickHouseProcess
process = ClickHouseProcess(Path(sys.argv[1]))
process.start()
print(process.pid, flush=True)
time.sleep(100)
"""


def test_acknowledged_inserts_survive_kill_9(tmp_path):
    process = ClickHouseProcess(tmp_path / "data")
    process.start()
    try:
        ask = Http(process)
        ask("CREATE DATABASE d COMMENT 'kept'")
        ask("CREATE TABLE d.t (a UInt64) ENGINE = MergeTree ORDER BY a")
        acknowledged, stop = [], threading.Event()

        def insert():
            while not stop.is_set():
                try:
                    if ask(f"INSERT INTO d.t VALUES ({len(acknowledged)})").status == 200:
                        acknowledged.append(len(acknowledged))
                except (OSError, http.client.HTTPException):
                    return

        thread = threading.Thread(target=insert)
        thread.start()
        while len(acknowledged) < 50:
            assert thread.is_alive()
            time.sleep(0.01)
        process.kill()
        stop.set()
        thread.join()
        assert process.poll() == -signal.SIGKILL

        process.start()
        ask = Http(process)
        # The one that was under way may be there too; nothing acknowledged is missing.
        found = {int(line) for line in ask("SELECT a FROM d.t").text.split()}
        assert found - {len(acknowledged)} == set(acknowledged)
        assert ask("SELECT comment FROM system.databases WHERE name = 'd'").text == "kept\n"
    finally:
        process.stop()
    assert process.poll() == 0


def test_a_second_process_on_the_folder_is_told_who_holds_it(server):
    second = ClickHouseProcess(server._data)
    with pytest.raises(StartError, match=rf"{server._data} is in use by the process {server.pid}"):
        second.start()
    assert second.poll() is not None


def test_stopping_cancels_what_runs(tmp_path):
    with ClickHouseProcess(tmp_path / "data") as process:
        ask = Http(process)
        answers = []
        queries = ("SELECT count() FROM numbers(1000000000000)", "SELECT number FROM numbers(1000000000000)")

        def run(sql):
            try:
                answers.append(ask(sql))
            except (OSError, http.client.HTTPException) as error:
                answers.append(error)

        threads = [threading.Thread(target=run, args=(sql,)) for sql in queries]
        for thread in threads:
            thread.start()
        while int(ask("SELECT count() FROM system.processes").text) < 3:
            time.sleep(0.01)
        begun = time.monotonic()
        process.stop()
        assert time.monotonic() - begun < 5
        assert process.poll() == 0
        for thread in threads:
            thread.join(5)
        assert len(answers) == 2


def test_stopping_does_not_wait_for_an_upload_that_stands_still(tmp_path):
    with ClickHouseProcess(tmp_path / "data") as process:
        Http(process)("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
        with socket.create_connection((process.host, process.port)) as connection:
            head = b"POST /?query=INSERT+INTO+t+FORMAT+CSV HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n"
            connection.sendall(head + b"1\n" * 2_000_000)
            begun = time.monotonic()
            process.stop()
        assert time.monotonic() - begun < 5
        assert process.poll() == 0


def test_the_child_ends_when_its_parent_is_killed(tmp_path):
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(tmp_path / "data")],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    child = psutil.Process(int(parent.stdout.readline()))
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running()


def test_a_password_is_needed_and_never_shown(tmp_path):
    with ClickHouseProcess(tmp_path / "data", user="worker", password="s3cret word") as process:
        ask = Http(process)
        assert ask("SELECT 1").status == 403
        assert ask("SELECT 1", user="worker").status == 403
        assert ask("SELECT 1", user="worker", password="s3cret word").text == "1\n"
        wrong = ask("SELECT 1", user="worker", password="an0ther")
        assert wrong.status == 403
        assert "an0ther" not in wrong.text
        assert ask(path="/ping").status == 200
        assert not any("s3cret" in word for word in psutil.Process(process.pid).cmdline())
    assert "s3cret" not in process.log.read_text()


def test_listening_beyond_this_machine_needs_a_password(tmp_path):
    process = ClickHouseProcess(tmp_path / "data", host="0.0.0.0")
    with pytest.raises(StartError, match=r"refusing to listen on 0\.0\.0\.0 without a password"):
        process.start()


def test_a_port_that_is_taken_is_told(server, tmp_path):
    with pytest.raises(StartError, match="Address already in use"):
        ClickHouseProcess(tmp_path / "data", port=server.port).start()


def test_the_log_goes_beside_the_data(tmp_path):
    assert ClickHouseProcess(tmp_path / "x" / "data").log == Path(tmp_path / "x" / "logs" / "clickhouse.log")
