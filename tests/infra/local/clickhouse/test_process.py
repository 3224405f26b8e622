"""The server's lifecycle: starting, stopping, being killed, and which data survives."""

import http.client
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from endpoint_analytics.infra.local.clickhouse.process import ClickHouseProcess, StartError

from .conftest import Http, request_head

_PARENT = """
import sys, time
from pathlib import Path
from endpoint_analytics.infra.local.clickhouse.process import ClickHouseProcess
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
        # The insert in flight may be there too; nothing acknowledged is missing.
        found = {int(line) for line in ask("SELECT a FROM d.t").text.split()}
        assert found - {len(acknowledged)} == set(acknowledged)
        assert ask("SELECT comment FROM system.databases WHERE name = 'd'").text == "kept\n"
    finally:
        process.stop()
    assert process.poll() == 0


def test_a_second_process_on_the_directory_gets_an_error_naming_the_first(server):
    second = ClickHouseProcess(server._data)
    with pytest.raises(StartError, match=rf"{server._data} is in use by process {server.pid}"):
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


def test_stopping_does_not_wait_for_a_stalled_upload(tmp_path):
    with ClickHouseProcess(tmp_path / "data") as process:
        Http(process)("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
        with socket.create_connection((process.host, process.port)) as connection:
            head = request_head(process, "POST /?query=INSERT+INTO+t+FORMAT+CSV", Content_Length=9000000)
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
        assert ask("SELECT 1").text == "1\n"
        assert not process.password_file.exists()
        assert ask("SELECT 1", user="worker").status == 403
        assert ask("SELECT 1", user="default", password="s3cret word").status == 403
        assert ask("SELECT 1", user="worker", password="s3cret word").text == "1\n"
        wrong = ask("SELECT 1", user="worker", password="an0ther")
        assert wrong.status == 403
        assert "an0ther" not in wrong.text
        assert ask(path="/ping").status == 200
        assert not any("s3cret" in word for word in psutil.Process(process.pid).cmdline())
    assert "s3cret" not in process.log.read_text()


def test_a_password_of_a_variable_is_not_left_where_the_kernel_shows_it(tmp_path):
    with ClickHouseProcess(tmp_path / "data", password="s3cret word") as process:
        environ = Path(f"/proc/{process.pid}/environ")
        if os.geteuid() == 0:  # the kernel shows it only to root, not even to the server's user
            assert b"ENDPOINT_ANALYTICS_CLICKHOUSE_PASSWORD=" in environ.read_bytes()
            assert b"s3cret" not in environ.read_bytes()
        else:
            with pytest.raises(PermissionError):
                environ.read_bytes()
        assert Http(process)("SELECT 1").text == "1\n"


def test_passwords_come_from_the_files_that_variables_name(tmp_path):
    environment = dict(os.environ)
    for name, password in (("", "writer's"), ("ANALYST_", "analyst's")):
        file = tmp_path / f"{name}file"
        file.write_text(f"{password}\nnothing of it\n")
        environment[f"ENDPOINT_ANALYTICS_CLICKHOUSE_{name}PASSWORD_FILE"] = str(file)
    words = [sys.executable, "-m", "endpoint_analytics.infra.command", "clickhouse", "--port", "0"]
    words += ["--data", str(tmp_path / "data")]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, env=environment)
    try:
        url = process.stdout.readline().decode().split()[-1]
        for user, password, status in (
            ("default", "writer's", 200),
            ("analyst", "analyst's", 200),
            ("analyst", "writer's", 403),
        ):
            connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
            login = {"X-ClickHouse-User": user, "X-ClickHouse-Key": password}
            connection.request("POST", "/", "SELECT 1", login)
            assert connection.getresponse().status == status
            connection.close()
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()
    assert not list(tmp_path.glob("*-password"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"PASSWORD": "hunter2", "PASSWORD_FILE": "file"}, "are both set: keep one of them"),
        ({"PASSWORD_FILE": "/nowhere"}, "clickhouse_password_file is '/nowhere'"),
        ({"ANALYST_PASSWORD_FILE": "/nowhere"}, "clickhouse_analyst_password_file is '/nowhere'"),
    ],
)
def test_unusable_passwords_are_reported(tmp_path, given, said):
    environment = os.environ | {
        f"ENDPOINT_ANALYTICS_CLICKHOUSE_{name}": value for name, value in given.items()
    }
    words = [sys.executable, "-m", "endpoint_analytics.infra.command", "clickhouse", "--port", "0"]
    words += ["--data", str(tmp_path / "data")]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert said in done.stderr
    assert "hunter2" not in done.stderr
    assert "Traceback" not in done.stderr


def test_passwords_are_made_once_and_only_their_owner_reads_them(tmp_path):
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    with ClickHouseProcess(data) as process:
        files = [process.password_file, process.analyst_password_file]
        assert {path.parent for path in files} == {tmp_path}  # not where the engine reads
        assert [stat.S_IMODE(path.stat().st_mode) for path in (data, *files)] == [0o700, 0o600, 0o600]
        made = [path.read_text() for path in files]
        assert len({*made}) == 2
        assert all(len(text.strip()) >= 32 for text in made)
    files[0].chmod(0o644)
    with ClickHouseProcess(data) as process:
        assert [path.read_text() for path in files] == made
        assert stat.S_IMODE(files[0].stat().st_mode) == 0o600
        seen = " ".join(psutil.Process(process.pid).cmdline()) + process.log.read_text()
        assert not any(text.strip() in seen for text in made)


def test_a_directory_of_an_earlier_version_keeps_its_rows(tmp_path):
    """As left by the previous version: without passwords, readable by others, its table in `default`."""
    data = tmp_path / "data"
    code = "import sys; from chdb.state.sqlitelike import Connection; c = Connection(sys.argv[1]); "
    code += "c.query('CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a'); c.query('INSERT INTO t VALUES (7)'); "
    code += "c.close()"
    data.mkdir(mode=0o755)
    subprocess.run([sys.executable, "-c", code, str(data)], check=True)
    for _ in range(2):
        with ClickHouseProcess(data) as process:
            assert Http(process)("SELECT a FROM t").text == "7\n"
            assert Http(process)("SELECT a FROM t", user="default", password="").status == 403
    assert stat.S_IMODE(data.stat().st_mode) == 0o700


def test_a_port_in_use_is_reported(server, tmp_path):
    with pytest.raises(StartError, match="Address already in use"):
        ClickHouseProcess(tmp_path / "data", port=server.port).start()


def test_the_log_is_next_to_the_data(tmp_path):
    assert ClickHouseProcess(tmp_path / "x" / "data").log == Path(tmp_path / "x" / "logs" / "clickhouse.log")


def test_too_few_descriptors_are_reported_in_one_line_before_the_data_is_opened(tmp_path):
    data = tmp_path / "data"
    words = ["-m", "endpoint_analytics.infra.command", "clickhouse", "--data", str(data), "--port", "0"]
    done = subprocess.run(
        ["/bin/sh", "-c", 'ulimit -n 400; exec "$0" "$@"', sys.executable, *words],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        "endpoint-analytics clickhouse: this process may open 400 "
    )
    assert "Traceback" not in done.stderr
    assert not (data / "metadata").exists()


def test_a_package_of_the_same_name_in_the_working_directory_is_not_taken(tmp_path, monkeypatch):
    """As in this repository's directory, whose `endpoint_analytics` has only the public modules."""
    (tmp_path / "endpoint_analytics").mkdir()
    (tmp_path / "endpoint_analytics" / "__init__.py").write_text("raise ImportError('another package')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    process = ClickHouseProcess(tmp_path / "data")
    process.start()
    try:
        assert Http(process)("SELECT 1").text == "1\n"
    finally:
        process.stop()
