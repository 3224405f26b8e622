"""Every command's parser: no abbreviated options, and no errors that repeat a secret."""

import pytest

from endpoint_analytics.agents.command.agent_command import SUBCOMMANDS
from endpoint_analytics.infra.command import COMMANDS, main
from endpoint_analytics.schemas.configuration.command_line import Parser

from .test_settings import WORDS

ALL = [[command, *WORDS.get(command, [])] for command in COMMANDS if command != "agent"]
ALL += [["agent", name] for name in SUBCOMMANDS]
SECRETS = (
    ["--kafka-pass=hunter2"],
    ["--kafka-passwor", "hunter2"],
    ["--kafka-password=hunter2"],
    ["--kafka-password", "hunter2"],
    ["--clickhouse-pass=hunter2"],
    ["--clickhouse-password", "hunter2"],
    ["--password=hunter2"],
    ["-phunter2"],
    ["-p", "hunter2"],
    ["--help-me", "hunter1", "hunter2"],
)


@pytest.mark.parametrize("words", ALL, ids=" ".join)
@pytest.mark.parametrize("secret", SECRETS, ids=" ".join)
def test_no_command_repeats_a_secret(words, secret, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*words, *secret])
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert "hunter2" not in said.err + said.out


OWN_WORDS = (["agent", "run"], ["agent", "scrape"])
"""Commands that take a positional argument after options: a command to start, a URL."""


@pytest.mark.parametrize("words", [words for words in ALL if words not in OWN_WORDS], ids=" ".join)
@pytest.mark.parametrize("option", ["--clickhouse-user", "--kafka-username"])
def test_no_command_repeats_a_word_behind_its_options(words, option, capsys):
    """As if the user expected the password to follow the name."""
    with pytest.raises(SystemExit) as ended:
        main([*words, option, "bob", "hunter2"])
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert "hunter2" not in said.err + said.out


@pytest.mark.parametrize("option", ["--clickhouse-password", "--kafka-password"])
def test_a_password_on_the_command_line_is_refused_with_what_to_do(option, capsys):
    with pytest.raises(SystemExit):
        main(["signals", option, "hunter2"])
    said = capsys.readouterr().err
    variable = f"ENDPOINT_ANALYTICS_{option[2:].replace('-', '_').upper()}"
    assert f"use {option}-file or {variable}" in said


def test_what_is_unknown_is_named(capsys):
    parser = Parser()
    parser.add_argument("--data")
    with pytest.raises(SystemExit):
        parser.parse_args(["less", "--dat", "x", "more", "--what=x", "-zx", "--data", "y", "most"])
    assert "unrecognized arguments: less --dat ... ... --what... -z... ..." in capsys.readouterr().err
