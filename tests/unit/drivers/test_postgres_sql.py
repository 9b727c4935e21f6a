"""Statements carry verifiers, never passwords, and no name that could end a string."""

import base64
import hmac

import pytest

from controlplane.errors import TerminalError
from drivers.postgres_sql import (
    SALT_BYTES,
    alter_password,
    prepare_script,
    quote_identifier,
    saslprep,
    scram_verifier,
)

SALT = bytes(range(SALT_BYTES))


def test_scram_verifier_proves_the_server_as_in_rfc_7677() -> None:
    """Section 3's exchange: the server key of our verifier signs it as printed there."""
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    exchange = (
        f"n=user,r=rOprNGfwEbeRWgbNEkqO,r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
        f"c=biws,r={nonce}"
    )
    verifier = scram_verifier("pencil", salt=salt)
    server_key = base64.b64decode(verifier.rpartition(":")[2])
    signature = hmac.digest(server_key, exchange.encode(), "sha256")
    assert base64.b64encode(signature) == b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    assert verifier.startswith("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$")


@pytest.mark.parametrize("name", ["shop", "Shop_2", "_x", "a-b", "a" * 63])
def test_quote_identifier_takes_plain_names(name: str) -> None:
    assert quote_identifier(name) == f'"{name}"'


@pytest.mark.parametrize("name", ["", "a" * 64, 'a"b', "a'b", "1a", "a b", "a;b", "ä", "a\n"])
def test_quote_identifier_refuses_everything_else(name: str) -> None:
    with pytest.raises(TerminalError) as caught:
        quote_identifier(name)
    assert caught.value.reason == "InvalidName"


@pytest.mark.parametrize("password", ["plain", "o'quote", "back\\slash", "$1 $$ :x", "ünï ½"])
def test_no_statement_holds_the_password(password: str) -> None:
    script = prepare_script("shop", password, "shop", salt=SALT)
    assert password not in script
    assert alter_password("shop", password, salt=SALT) in script


@pytest.mark.parametrize(
    ("password", "prepared"),
    [
        pytest.param("plain", "plain", id="ASCII stays"),
        pytest.param("I\u00adX", "IX", id="RFC 4013: soft hyphen maps to nothing"),
        pytest.param("\u00aa", "a", id="RFC 4013: output is NFKC"),
        pytest.param("\u2168", "IX", id="RFC 4013: output is NFKC, a numeral"),
        pytest.param("a\u00a0b", "a b", id="no-break space is a space"),
        pytest.param("\u0007", "\u0007", id="prohibited: taken as it is"),
        pytest.param("\u0627\u0031", "\u0627\u0031", id="forbidden direction: taken as it is"),
        pytest.param("\u0627\u0628", "\u0627\u0628", id="right to left"),
        pytest.param("\u00ad", "\u00ad", id="nothing left: taken as it is"),
    ],
)
def test_saslprep_follows_its_profile(password: str, prepared: str) -> None:
    assert saslprep(password) == prepared
