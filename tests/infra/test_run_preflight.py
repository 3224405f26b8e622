"""What keeps a run from starting is said before anything starts, with how to mend it."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from endpoint_analytics.infra import preflight
from endpoint_analytics.infra.kafka.port import free_port
from endpoint_analytics.infra.preflight import PreflightError, choose_ports, prepare_folder

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


def test_what_is_no_list_of_ports_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "ports.json").write_text("[")
    assert choose_ports(tmp_path, {"kafka": 0})["kafka"] > 0


def test_a_disk_that_is_nearly_full_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "ROOM_BYTES", 1 << 60)
    with pytest.raises(
        PreflightError, match=r"only \d+ MiB are free where .* lies, and \d+ are needed: make room"
    ):
        prepare_folder(tmp_path)


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        PreflightError, match=r"cannot use .*file/data for data: .*choose another with --data"
    ):
        prepare_folder(tmp_path / "file" / "data")
