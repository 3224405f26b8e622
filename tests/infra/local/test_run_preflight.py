"""What prevents a run from starting is reported before anything starts, with how to fix it."""

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.parts import ROOT

from endpoint_analytics.infra.command import main
from endpoint_analytics.infra.local import preflight, run
from endpoint_analytics.infra.local.preflight import PreflightError, choose_ports, prepare_directory
from endpoint_analytics.infra.local.system.data_directory import lock_directory
from endpoint_analytics.infra.local.system.port import free_port

HOST = "127.0.0.1"


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server((HOST, free_port(HOST))) as server:
        yield server.getsockname()[1]


def test_the_usual_port_is_taken_when_it_is_free_and_another_when_not(
    tmp_path: Path, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = free_port(HOST)
    monkeypatch.setattr(preflight, "USUAL_PORTS", {"kafka": usual, "serve": taken})
    ports = choose_ports(tmp_path, {"kafka": None, "serve": None})
    assert ports["kafka"] == usual
    assert ports["serve"] not in (usual, taken)


@pytest.mark.outside
def test_the_ports_of_the_last_run_are_taken_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = choose_ports(tmp_path, {"kafka": 0, "serve": 0})
    monkeypatch.setattr(preflight, "USUAL_PORTS", {"kafka": 0, "serve": 0})
    assert choose_ports(tmp_path, {"kafka": None, "serve": None}) == first


def test_a_port_that_was_asked_for_and_is_in_use_is_an_error(tmp_path: Path, taken: int) -> None:
    with pytest.raises(
        PreflightError, match=rf"port {taken} on 127\.0\.0\.1 is in use: choose another --kafka-port"
    ):
        choose_ports(tmp_path, {"kafka": taken})


def test_one_port_is_not_given_to_two(tmp_path: Path) -> None:
    port = free_port(HOST)
    with pytest.raises(PreflightError, match="--serve-port"):
        choose_ports(tmp_path, {"kafka": port, "serve": port})


@pytest.mark.outside
def test_what_is_no_list_of_ports_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "ports.json").write_text("[")
    assert choose_ports(tmp_path, {"kafka": 0})["kafka"] > 0


def test_a_disk_that_is_nearly_full_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "NEEDED_BYTES", 1 << 60)
    with pytest.raises(
        PreflightError,
        match=r"only \d+ MiB are free on the disk of .*, and \d+ MiB are needed: free some space",
    ):
        prepare_directory(tmp_path)


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        PreflightError, match=r"cannot use .*file/data for data: .*choose another with --data"
    ):
        prepare_directory(tmp_path / "file" / "data")


def test_missing_packages_of_the_demo_are_reported_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "find_spec", lambda _: None)
    data = tmp_path / "data"
    assert main(["run", "--data", str(data)]) == 1
    said = capsys.readouterr().err
    assert "the demo needs magika and onnxruntime" in said
    assert "[demo]" in said
    assert "--no-demo" in said
    assert not data.exists()


def test_data_that_a_run_uses_are_not_cleaned(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    data = tmp_path / "data"
    lock = lock_directory(data)
    words = ["make", "clean-data"]
    refused = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert f"in use by process {os.getpid()}" in refused.stderr
    assert data.exists()
    lock.release()
    subprocess.run(words, cwd=tmp_path, capture_output=True, check=True)
    assert not data.exists()
