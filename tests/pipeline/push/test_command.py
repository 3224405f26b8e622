"""The command's settings: what it refuses to start with, in one line without secrets."""

import pytest

from endpoint_analytics.infra.command import main
from endpoint_analytics.pipeline.push.command import _scopes
from endpoint_analytics.pipeline.store.scope import EVERYTHING, Scope


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--endpoint", "collector:4318"], "--endpoint"),
        (["--endpoint", "http://u:s3cret@collector"], "--headers-file"),
        (["--endpoint", "http://c", "--headers-file", "/none"], "--headers-file"),
        (["--endpoint", "http://c", "--ca-file", "/none"], "--ca-file"),
        (["--endpoint", "http://c", "--namespace", "a/b"], "--namespace"),
    ],
)
def test_wrong_settings(words, shown, capsys):
    assert main(["push", "otlp", *words]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert shown in line
    assert "s3cret" not in line


def test_another_protocol_is_a_usage_error_that_does_not_repeat_it(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["push", "s3cret", "--endpoint", "http://c"])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert "expected otlp" in error
    assert "s3cret" not in error


def test_a_namespace_that_is_given_twice_is_pushed_once():
    assert _scopes(["b", "a", "b"]) == [Scope("b"), Scope("a")]
    assert _scopes(None) == [EVERYTHING]
