"""What can be typed after `python -m controlplane`, and what can't."""

import pytest

from controlplane.arguments import parse

ROLES = ("admin", "viewer")


def test_a_kubeconfig_is_for_an_administrator_and_90_days_unless_it_says_otherwise() -> None:
    given = parse(["kubeconfig", "--out", "k"], about="", roles=ROLES)
    assert (given.role, given.user, given.days) == ("admin", None, 90)
    words = ["kubeconfig", "--out", "k", "--role", "viewer", "--user", "ann.b@x", "--days", "7"]
    given = parse(words, about="", roles=ROLES)
    assert (given.role, given.user, given.days) == ("viewer", "ann.b@x", 7)


@pytest.mark.parametrize("user", ["", "system:admin", "-a", "a b", "a\nb", "x" * 64, "ä"])
def test_nobody_is_called_like_kubernetes_own_users_or_with_odd_signs(user: str) -> None:
    with pytest.raises(SystemExit) as refused:
        parse(["kubeconfig", "--out", "k", f"--user={user}"], about="", roles=ROLES)
    assert refused.value.code == 2


@pytest.mark.parametrize("days", ["0", "-1", "1.5", "soon", "999999999"])
def test_a_token_lasts_for_a_day_at_least(days: str) -> None:
    with pytest.raises(SystemExit) as refused:
        parse(["kubeconfig", "--out", "k", f"--days={days}"], about="", roles=ROLES)
    assert refused.value.code == 2


def test_revoking_wants_an_id() -> None:
    assert parse(["tokens", "revoke", "ab12"], about="", roles=ROLES).id == "ab12"
    for words in (["tokens"], ["tokens", "revoke"], ["tokens", "list", "ab12"]):
        with pytest.raises(SystemExit):
            parse(words, about="", roles=ROLES)
