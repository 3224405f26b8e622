import re

import pytest

from endpoint_analytics.infra.command import main


@pytest.fixture
def token_command(config, capsys, monkeypatch):
    monkeypatch.setenv("ENDPOINT_ANALYTICS_CLICKHOUSE_PASSWORD", config.password)

    def run(*words):
        status = main(
            ["token", *words, "--clickhouse-url", config.url, "--clickhouse-database", config.database]
        )
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def test_create_prints_the_token_alone(token_command):
    status, out, err = token_command("create", "--namespace", "acme", "--label", "grafana")
    assert status == 0
    assert re.fullmatch(r"eat_[0-9a-f]{16}_[A-Za-z0-9_-]{43}\n", out)
    assert err == "save this token: it is shown only once\n"


def test_list_and_revoke(token_command):
    _, token, _ = token_command("create", "--namespace", "*", "--label", "operator")
    token_id = token.split("_")[1]
    _, listed, _ = token_command("list")
    (line,) = [line for line in listed.splitlines() if line.startswith(token_id)]
    assert line.split()[1] == "*"
    assert line.endswith("active  operator")
    assert token.strip().split("_", 2)[2] not in listed
    assert token_command("revoke", token_id) == (0, "", f"token {token_id} is revoked\n")
    _, listed, _ = token_command("list")
    (line,) = [line for line in listed.splitlines() if line.startswith(token_id)]
    assert "revoked" in line


def test_what_cannot_be_done_is_one_line(token_command):
    status, out, err = token_command("revoke", "0000000000000000")
    assert (status, out) == (1, "")
    assert err.startswith("endpoint-analytics token: there is no token")
    status, out, err = token_command("create", "--namespace", "no spaces")
    assert (status, out) == (1, "")
    assert "namespace" in err
