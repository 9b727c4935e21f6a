"""What Mailcow has no field for, kept where it keeps notes; and how its answers are read. Pure.

Tags of domains and mailboxes (`bunker-owner:`, `bunker-claim:`, `bunker-password:`, `bunker-kept`),
the private comment of an alias, the description of a filter.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

OWNER: Final = "bunker-owner:"
CLAIM: Final = "bunker-claim:"
PASSWORD: Final = "bunker-password:"  # noqa: S105  # the name of a tag
KEPT: Final = "bunker-kept"
FORWARD: Final = "bunker-forward"
_LONGEST: Final = 160 - len(OWNER) - 36 - len(" ")
"""Of an address that a comment has room for, beside the uid of its owner."""


@dataclass(frozen=True, slots=True)
class Notes:
    """What the tags of a domain or mailbox, or the comment of an alias, say."""

    owner: str = ""
    claim: str = ""
    password: str = ""
    kept: bool = False

    @staticmethod
    def of(words: Iterable[str]) -> "Notes":
        found = tuple(words)

        def one(prefix: str) -> str:
            values = [word.removeprefix(prefix) for word in found if word.startswith(prefix)]
            return values[0] if len(values) == 1 else ""

        return Notes(one(OWNER), one(CLAIM), one(PASSWORD), KEPT in found)

    def words(self) -> tuple[str, ...]:
        named = ((OWNER, self.owner), (CLAIM, self.claim), (PASSWORD, self.password))
        return tuple(f"{prefix}{value}" for prefix, value in named if value) + (
            (KEPT,) if self.kept else ()
        )


def is_on(found: Mapping[str, Any]) -> bool:
    """`active` is a number, or a string; 2 is a mailbox that receives and can't log in."""
    return str(found.get("active")) == "1"


def notes_of(found: Mapping[str, Any]) -> Notes:
    return Notes.of(str(tag) for tag in found.get("tags") or ())


def script_of(targets: tuple[str, ...], keep_copy: bool) -> str:
    lines = ['require ["copy"];'] if keep_copy else []
    how = "redirect :copy" if keep_copy else "redirect"
    lines += [f'{how} "{target}";' for target in targets]
    return "\n".join(lines) + "\n"


def forwards_of(filters: list[Mapping[str, Any]]) -> tuple[tuple[str, ...], bool]:
    """(targets, whether a copy stays); a script that isn't as we write it forwards to nobody."""
    if len(filters) != 1 or not is_on(filters[0]):
        return (), True
    script = str(filters[0].get("script_data", "")).replace("\r\n", "\n")
    targets = tuple(line.split('"')[1] for line in script.splitlines() if line.startswith("redir"))
    for keep_copy in (True, False):
        if script.strip() == script_of(targets, keep_copy).strip():
            return targets, keep_copy
    return (), True


def comment_of(found: Mapping[str, Any]) -> tuple[str, str]:
    """(owner, mailbox whose own alias it is, as `named`) from an alias's private comment."""
    words = str(found.get("private_comment") or "").split()
    owner = next((w.removeprefix(OWNER) for w in words if w.startswith(OWNER)), "")
    return owner, words[1] if owner and len(words) > 1 else ""


def comment(owner: str, mailbox: str = "") -> str:
    """The private comment of an alias; `mailbox` is the one whose own it is."""
    return f"{OWNER}{owner} {named(mailbox)}".strip()


def named(mailbox: str) -> str:
    """How a comment names a mailbox: Mailcow takes no comment over 160 bytes."""
    if len(mailbox) <= _LONGEST:
        return mailbox
    return hashlib.sha256(mailbox.encode()).hexdigest()


def targets_of(found: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(each for each in str(found.get("goto") or "").split(",") if each)


def by_address(aliases: list[Mapping[str, Any]], address: str) -> Mapping[str, Any] | None:
    return next((each for each in aliases if each.get("address") == address), None)
