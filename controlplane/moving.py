"""Moves the keys of Secrets between the backends: copy, verify, switch, then remove.

At every moment each key is in at least one of both places, and processes that know both look into
both (vaulted.LayeredKeys); so the control plane may run meanwhile, and a run that was cut off is
begun again. Secrets themselves are never touched.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from controlplane.errors import TerminalError
from controlplane.secrets import load_master_key, write_master_key
from controlplane.vaulted import Backend, KeyTable, VaultKeys, find_master

ROUNDS: Final = 100
"""New Secrets may come while the old ones are moved; after so many rounds somebody is told."""


@dataclass(frozen=True, slots=True)
class Moved:
    """What a run did."""

    keys: int
    to: Backend


@dataclass(frozen=True, slots=True)
class Mover:
    """Between the database and a Vault."""

    table: KeyTable
    vault: VaultKeys
    master_file: Path

    async def move(self, to: Backend) -> Moved:
        """Returns when nothing is left in the other place. Raises SecretsUnavailableError (run it
        again), TerminalError when the places hold different keys."""
        return Moved(await (self._to_vault() if to == "vault" else self._to_embedded()), to)

    async def _to_vault(self) -> int:
        master = await find_master(self.vault, self.table, self.master_file, "vault")
        if await self.vault.put_master(master.secret) != master.secret:
            raise _differs("the master key")
        count = 0
        for _ in range(ROUNDS):
            uids = await self.table.uids()
            for uid in uids:
                await self._copy(uid, to="vault")
            await self.table.set_backend("vault")
            for uid in uids:
                # once more from Vault itself, just before the other one goes
                if await self.vault.get(uid) == await self.table.get(uid):
                    await self.table.delete(uid)
                    count += 1
            if not await self.table.uids():
                self.master_file.unlink(missing_ok=True)
                return count
        raise _restless()

    async def _to_embedded(self) -> int:
        master = await find_master(self.vault, self.table, self.master_file, "embedded")
        write_master_key(self.master_file, master)
        if load_master_key(self.master_file, may_create=False).secret != master.secret:
            raise _differs("the master key")
        own = await self.vault.owner() in (None, await self.table.identity())
        count = 0
        for _ in range(ROUNDS):
            uids = await self._kept_in_vault(own=own)
            for uid in uids:
                await self._copy(uid, to="embedded")
            await self.table.set_backend("embedded")
            for uid in uids:
                if await self.vault.get(uid) == await self.table.get(uid):
                    await self.vault.delete(uid)
                    count += 1
            if not await self._kept_in_vault(own=own):
                if own:
                    await self.vault.delete_master()
                return count
        raise _restless()

    async def _kept_in_vault(self, *, own: bool) -> tuple[str, ...]:
        """Those of this installation. In the folder of another one they are those of the Secrets
        that there are: an earlier release let a second one begin in it, under the same master key.
        """
        uids = await self.vault.uids()
        if own:
            return uids
        sealed = await self.table.sealed_uids()
        return tuple(uid for uid in uids if uid in sealed)

    async def _copy(self, uid: str, *, to: Backend) -> None:
        source, target = (self.table, self.vault) if to == "vault" else (self.vault, self.table)
        wrapped = await source.get(uid)
        if wrapped is None:  # its Secret was deleted meanwhile
            return
        if await target.put(uid, wrapped) != wrapped or await target.get(uid) != wrapped:
            raise _differs(f"the key of '{uid}'")


def _differs(what: str) -> TerminalError:
    return TerminalError(
        f"cannot move Secrets: {what} in Vault is not the one here; is it another installation's? "
        "Set another CP_VAULT_PATH",
        reason="KeysDiffer",
    )


def _restless() -> TerminalError:
    return TerminalError(
        "cannot finish the move: Secrets keep coming faster than they are moved; start the control "
        "plane with CP_SECRETS set to where they are moved first",
        reason="Restless",
    )
