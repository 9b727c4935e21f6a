"""What the sweep may find on mail servers of our own: domains and addresses whose record is gone.

An adapter beside outside.py. Mail is always kept: the next Mailbox of its address has it again.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from controlplane.engine.port import Outside
from controlplane.errors import ControlPlaneError
from controlplane.records import View
from drivers.mail import Mail, MailServer, OwnedThing
from resources.meta import PLATFORM_NAMESPACE

KINDS: Final[Mapping[str, str]] = {
    "alias": "MailAlias",
    "mailbox": "Mailbox",
    "domain": "MailDomain",
}
"""What is on a server -> the kind of its record; a domain goes last, after what is in it."""


@dataclass(frozen=True, slots=True)
class MailSweeper:
    """An external server may serve other installations: nothing is ever swept there."""

    mail: Mail
    view: View

    async def list_owned(self) -> Sequence[Outside]:
        live = self._live()
        found: list[Outside] = []
        for name, server in self._servers():
            # one that doesn't answer keeps no other sweep from being made
            with contextlib.suppress(ControlPlaneError):
                things = [t for t in await self.mail.list_owned(server) if t.owner not in live]
                things.sort(key=lambda thing: list(KINDS).index(thing.what))
                found += [_outside(name, thing) for thing in things]
        return found

    async def remove(self, item: Outside, /) -> None:
        name, _, address = item.id.partition("/")
        server = dict(self._servers()).get(name)
        if server is None or item.uid in self._live():
            return
        match item.what:
            case "alias":
                await self.mail.delete_alias(server, address, owner=item.uid)
            case "mailbox":
                await self.mail.delete_mailbox(server, address, owner=item.uid, keep_mail=True)
            case _:
                await self.mail.delete_domain(server, address, owner=item.uid)

    def _live(self) -> frozenset[str]:
        return frozenset(each.uid for kind in KINDS.values() for each in self.view.list(kind))

    def _servers(self) -> list[tuple[str, MailServer]]:
        """(name of the Platform record, server) of each that runs."""
        found = []
        for stored in self.view.list("Platform", PLATFORM_NAMESPACE):
            spec, status = stored.obj["spec"], stored.obj.get("status") or {}
            container = status.get("containerId")
            if spec.get("service") == "mail" and not spec.get("external") and container:
                found.append((stored.key.name, MailServer(str(container))))
        return found


def _outside(server: str, thing: OwnedThing) -> Outside:
    kind, identity = KINDS[thing.what], f"{server}/{thing.name}"
    return Outside(thing.owner, kind, "", thing.name, thing.what, identity)
