"""Generated Secret values: what is made, and that it is made once."""

from base64 import b64decode
from collections.abc import Mapping

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from controlplane.engine import secretdata
from controlplane.plan import Derived, Generated, SecretValue, Template
from drivers.wireguard_keys import public_key_of

KEY = Generated(2048, form="rsa")


def test_a_text_has_the_length_asked_for() -> None:
    assert [len(secretdata.generate(Generated(n))) for n in (1, 24, 33)] == [1, 24, 33]


def test_a_key_is_a_private_rsa_key_of_the_size_asked_for() -> None:
    made = serialization.load_pem_private_key(secretdata.generate(KEY).encode(), password=None)
    assert isinstance(made, RSAPrivateKey)
    assert made.key_size == 2048


def test_what_is_there_is_never_made_again() -> None:
    def fail(wanted: Generated) -> str:
        raise AssertionError(wanted)

    before = {"key": "a key", "password": "a password"}
    keys: dict[str, SecretValue] = {
        "key": KEY,
        "password": Generated(),
        "uri": Template("x://{password}"),
    }
    assert secretdata.completed(before, keys, fail) == {**before, "uri": "x://a password"}


def test_only_a_key_still_to_be_made_takes_long() -> None:
    assert secretdata.slow({}, {"key": KEY})
    assert not secretdata.slow({"key": "there"}, {"key": KEY, "password": Generated()})


def test_a_wireguard_key_is_32_bytes_and_another_each_time() -> None:
    made = {secretdata.generate(Generated(form="x25519")) for _ in range(3)}
    assert len({public_key_of(key) for key in made}) == 3


def _shout(values: Mapping[str, str]) -> str:
    return values["line"].upper() + "\udcff"


def test_derived_values_come_of_finished_ones_and_may_be_any_bytes() -> None:
    keys: dict[str, SecretValue] = {
        "loud": Derived(_shout),
        "line": Template("hello {name}"),
        "name": "you",
    }
    made = secretdata.completed({"loud": "edited"}, keys, secretdata.generate)
    assert made["loud"] == "HELLO YOU\udcff"
    assert secretdata.decoded(secretdata.encoded(made)) == made
    assert b64decode(secretdata.encoded(made)["loud"]) == b"HELLO YOU\xff"
    assert secretdata.slow({}, keys)
