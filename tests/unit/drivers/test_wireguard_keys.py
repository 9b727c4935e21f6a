"""WireGuard's keys, against vectors that others made."""

import pytest

from drivers.wireguard_keys import generate_private_key, public_key_of

# RFC 7748, 6.1: Alice's keys, in base64
ALICE_PRIVATE = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo="
ALICE_PUBLIC = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="


def test_a_public_key_is_the_standards() -> None:
    assert public_key_of(ALICE_PRIVATE) == ALICE_PUBLIC


def test_each_key_is_another() -> None:
    assert len({public_key_of(generate_private_key()) for _ in range(5)}) == 5


@pytest.mark.parametrize("bad", ["", "short", "x" * 44, ALICE_PRIVATE[:-4], ALICE_PRIVATE * 2])
def test_what_is_no_key_is_told_without_it(bad: str) -> None:
    with pytest.raises(ValueError, match="not a WireGuard private key") as caught:
        public_key_of(bad)
    assert not bad or bad not in str(caught.value)
