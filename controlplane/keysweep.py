"""Removes keys from Vault whose Secret is gone: the database does so by itself, in the transaction
that deletes the record, and can't reach into a Vault.

Not here: what a key is and where it is kept, which is vaulted.py's.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol

import structlog

from controlplane.clock import Clock, parse_time, rfc3339
from controlplane.errors import RetryableError
from controlplane.vaulted import VaultKeys

SWEEP_EVERY_S: Final = 300.0
KEPT: Final = timedelta(days=7)
"""How long a key is kept whose Secret the database neither has nor knows to be deleted: time to
find out that the backup that was restored is not the one that was wanted."""

_log = structlog.get_logger(__name__)


class Live(Protocol):
    """Whose keys are needed (store/keys.py)."""

    async def identity(self) -> str | None:
        """What this database alone has, and each restored backup of it; None before its agent
        has begun."""
        ...

    async def sealed_uids(self) -> frozenset[str]:
        """UIDs of all Secrets there are, read from the store itself."""
        ...

    async def deleted_uids(self, among: Collection[str], /) -> frozenset[str]:
        """Those of them whose Secret's deletion is in the log of changes."""
        ...


@dataclass(slots=True)
class KeySweeper:
    """A key never comes back, so each goes on proof alone. The proof is the deletion of its Secret
    in the log of changes: a uid is never given twice.

    That there is no such Secret proves nothing. The database may be an older backup, restored for
    a while, and the newer one, with all Secrets made since, be put back after. So a key without
    either stays for KEPT from when it was first found so. When that was is noted in Vault beside
    it: the database forgets it with the next restore, and a process at its end. Such are left
    behind, too, by creates that were refused, which is why they go at all.

    And nothing goes on the word of another database than the one that the folder belongs to, such
    as a second installation's, or an empty one that is still to be restored.
    """

    keys: VaultKeys
    live: Live
    clock: Clock
    _since: dict[str, datetime] = field(default_factory=dict)
    """What is noted in Vault, as far as it was read."""

    async def run(self) -> None:
        """For ever; while the Vault or the database is away, later."""
        while True:
            await self.clock.sleep(SWEEP_EVERY_S)
            try:
                await self.once()
            except RetryableError:
                continue

    async def once(self) -> int:
        """One sweep; how many keys went."""
        database = await self.live.identity()
        if database is None:  # nothing of its own is in it yet
            return 0
        if not await self.keys.claimed(database):
            _log.error(
                "vault_sweep_refused",
                path=self.keys.path,
                hint="another database's keys are kept there: give each installation a "
                "CP_VAULT_PATH of its own, or restore the database that the keys are of",
            )
            return 0
        # the keys first: one is older than its record
        found = frozenset(await self.keys.uids())
        orphans = found - await self.live.sealed_uids()
        deleted = await self.live.deleted_uids(orphans) if orphans else frozenset()
        await self._remove(deleted)
        overdue = await self._overdue(orphans - deleted)
        await self._remove(overdue)
        await self._forget_all_but(orphans - deleted - overdue)
        return len(deleted) + len(overdue)

    async def _remove(self, uids: frozenset[str]) -> None:
        for uid in sorted(uids):
            await self.keys.delete(uid)

    async def _overdue(self, orphans: frozenset[str]) -> frozenset[str]:
        now = self.clock.now()
        for uid in sorted(orphans - self._since.keys()):
            noted = await self.keys.orphaned(uid, rfc3339(now))
            self._since[uid] = parse_time(noted) or now
        return frozenset(uid for uid in orphans if now - self._since[uid] >= KEPT)

    async def _forget_all_but(self, orphans: frozenset[str]) -> None:
        """A newer backup is back, or they are gone."""
        for uid in sorted({*await self.keys.orphans()} - orphans):
            await self.keys.forget_orphan(uid)
        self._since = {uid: since for uid, since in self._since.items() if uid in orphans}
