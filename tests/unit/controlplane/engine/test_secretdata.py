"""Generated Secret values: what is made, and that it is made once."""

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from controlplane.engine import secretdata
from controlplane.plan import Generated, Template

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
    keys: dict[str, Generated | Template] = {
        "key": KEY,
        "password": Generated(),
        "uri": Template("x://{password}"),
    }
    assert secretdata.completed(before, keys, fail) == {**before, "uri": "x://a password"}


def test_only_a_key_still_to_be_made_takes_long() -> None:
    assert secretdata.slow({}, {"key": KEY})
    assert not secretdata.slow({"key": "there"}, {"key": KEY, "password": Generated()})
