import hashlib
from datetime import UTC, datetime

import pytest

from endpoint_analytics.pipeline.store.tokens import (
    AccessToken,
    TokenError,
    create_token,
    list_tokens,
    parse_token,
    revoke_token,
    sha256_hex,
    verify,
)
from endpoint_analytics.schemas.errors import InvalidMessageError

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _no_tokens(client):
    client.command("TRUNCATE TABLE tokens")


def known(client):
    return {token.token_id: token for token in list_tokens(client)}


def test_a_token_opens_its_namespace_and_no_other(client):
    token = verify(create_token(client, "acme", 'grafana\'s \\ "own"', NOW), known(client))
    assert token is not None
    assert (token.label, token.created_at) == ('grafana\'s \\ "own"', NOW)
    assert token.opens("acme")
    assert not token.opens("acm")
    assert not token.opens("*")


def test_an_operators_token_opens_all(client):
    token = verify(create_token(client, "*", "", NOW), known(client))
    assert token is not None
    assert token.opens("acme")
    assert token.opens("*")


def test_only_the_hash_of_the_secret_is_stored(client):
    text = create_token(client, "acme", "", NOW)
    _, secret = parse_token(text)
    assert len(secret) == 43  # 256 bits in base64
    rows = client.query("SELECT * FROM tokens").result_rows
    assert secret not in repr(rows)
    assert hashlib.sha256(secret.encode()).hexdigest() in repr(rows)
    assert secret not in repr(known(client))


def test_a_revoked_token_opens_nothing(client):
    text = create_token(client, "acme", "", NOW)
    token_id, _ = parse_token(text)
    assert revoke_token(client, token_id)
    assert not revoke_token(client, token_id)
    assert verify(text, known(client)) is None
    assert [token.revoked for token in list_tokens(client)] == [True]


def test_an_unknown_id_cannot_be_revoked(client):
    with pytest.raises(TokenError, match="token list"):
        revoke_token(client, "0" * 16)


@pytest.mark.parametrize("namespace", ["", "a b", "-a", "a" * 129, "**"])
def test_a_namespace_is_a_name(client, namespace):
    with pytest.raises(InvalidMessageError):
        create_token(client, namespace, "", NOW)


def test_a_label_is_one_printable_line(client):
    with pytest.raises(TokenError):
        create_token(client, "acme", "a\nb", NOW)


def test_wrong_secrets_and_wrong_shapes_open_nothing():
    secret = "s" * 43
    token = AccessToken("0" * 16, sha256_hex(secret), "acme", "", NOW, False)
    tokens = {token.token_id: token}
    assert verify(f"eat_{'0' * 16}_{secret}", tokens) is token
    for wrong in (
        "",
        "eat_",
        f"eat_{'0' * 16}_{'t' * 43}",
        f"eat_{'1' * 16}_{secret}",
        f"eat_{'0' * 16}_{secret}x",
        f"eat_{'0' * 16}_{secret}\n",
        f"EAT_{'0' * 16}_{secret}",
        f"eat_{'0' * 16}_{'é' * 43}",
    ):
        assert verify(wrong, tokens) is None
