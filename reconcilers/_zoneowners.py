"""Whose a zone is, as the server tells it by the zone's account.

The uid of its record, with `~` behind it if it is to outlive that (`deletionPolicy: Retain`), so
that no sweep takes it whatever became of the record; or the uid of a namespace with `~` in front
for what was kept, for that namespace's next Zone alone. Pure.
"""

from typing import Final

from controlplane.plan import Want
from resources.zone import Zone

KEPT: Final = "~"
"""An account has at most 40 characters, and a uid 36."""


def own(want: Want[Zone]) -> tuple[str, str]:
    """The accounts of a record's zone: if it goes with the record, and if it stays."""
    uid = want.record.metadata.uid
    return uid, f"{uid}{KEPT}"


def account_of(want: Want[Zone]) -> str:
    """The account that its zone is to have."""
    goes, stays = own(want)
    return stays if want.record.spec.deletion_policy == "Retain" else goes


def kept(want: Want[Zone]) -> str:
    """The account of what is kept for its namespace."""
    return f"{KEPT}{want.namespace_uid}"


def holder(account: str) -> str:
    """Whose a zone of another account is, as an adjective's clause."""
    if account.startswith(KEPT) or account.endswith(KEPT):
        return "that is kept, for another namespace or from a record that its server outlived"
    return "of another namespace" if account else "made by hand"


def orphan(uid: str) -> str:
    """The account of what a record was to keep that could not hand it to its namespace."""
    return f"{KEPT}{uid}"
