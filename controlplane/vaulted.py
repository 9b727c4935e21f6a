"""The Vault backend: the keys of Secrets, and the key above them, are kept in a Vault.

What is stored of a Secret is the same with every backend: one AES-256-GCM blob under a key of the
Secret's own, wrapped by the master key (secrets.py). This backend keeps both keys in Vault, at
`<path>/keys/<uid>` and `<path>/master`, and nothing on this host's disk. So a change of backend
moves keys and rewrites no Secret, and history, digests and backups stay as they are
(docs/decisions/0010). Nothing but the master key, once read, is held in memory.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, Protocol

import structlog

from controlplane.clock import Clock
from controlplane.errors import RetryableError, SecretsUnavailableError, TerminalError
from controlplane.secrets import (
    KEY_BYTES,
    EmbeddedSealer,
    MasterKey,
    ObjectKeys,
    load_master_key,
    new_master,
)

Backend = Literal["embedded", "vault"]

VALUE: Final = "key"
"""Name of the one value at each path."""
MASTER: Final = "master"
OWNER: Final = "owner"
DATABASE: Final = "database"
"""Name of the one value at OWNER."""
ORPHANS: Final = "orphans"
SINCE: Final = "since"
"""Name of the one value at each path below ORPHANS."""
READY_EVERY_S: Final = 5.0

_log = structlog.get_logger(__name__)


class KeyVault(Protocol):
    """A Vault, as drivers/vault.py has it."""

    async def observe_secret(self, path: str, /) -> Mapping[str, str] | None: ...

    async def list_secrets(self, path: str, /) -> tuple[str, ...]: ...

    async def ensure_secret(self, path: str, values: Mapping[str, str], /) -> Mapping[str, str]: ...

    async def delete_secret(self, path: str, /) -> None: ...


class KeyTable(ObjectKeys, Protocol):
    """The keys in the database (store/keys.py), and which backend is the one in use."""

    async def uids(self) -> tuple[str, ...]: ...

    async def backend(self) -> str: ...

    async def set_backend(self, name: str, /) -> None: ...

    async def sealed_uids(self) -> frozenset[str]:
        """UIDs of all Secrets there are, wherever their keys may be."""
        ...

    async def identity(self) -> str | None:
        """What this database alone has; None before its agent has begun."""
        ...


@dataclass(frozen=True, slots=True)
class VaultKeys:
    """Implements secrets.ObjectKeys on a Vault, below `path`."""

    vault: KeyVault
    path: str
    mount: str = "secret"
    """Only to be told: `vault` knows where it is mounted."""

    async def get(self, uid: str, /) -> bytes | None:
        return _decoded(await self.vault.observe_secret(self._of(uid)), uid)

    async def put(self, uid: str, wrapped: bytes, /) -> bytes:
        kept = await self.vault.ensure_secret(self._of(uid), _encoded(wrapped))
        found = _decoded(kept, uid)
        assert found is not None
        return found

    async def delete(self, uid: str, /) -> None:
        await self.vault.delete_secret(self._of(uid))

    async def uids(self) -> tuple[str, ...]:
        return await self.vault.list_secrets(f"{self.path}/keys")

    async def master(self) -> bytes | None:
        """The master key, if it is there."""
        found = _decoded(await self.vault.observe_secret(f"{self.path}/{MASTER}"), MASTER)
        if found is not None and len(found) != KEY_BYTES:
            raise _no_key(MASTER)  # Secrets would be sealed with it that nobody else opens
        return found

    async def put_master(self, secret: bytes) -> bytes:
        """Keep it unless there is one; the one that is kept."""
        kept = await self.vault.ensure_secret(f"{self.path}/{MASTER}", _encoded(secret))
        found = _decoded(kept, MASTER)
        assert found is not None
        return found

    async def delete_master(self) -> None:
        """With whose folder it was: nothing of this installation is left."""
        for uid in await self.orphans():
            await self.forget_orphan(uid)
        await self.vault.delete_secret(f"{self.path}/{OWNER}")
        await self.vault.delete_secret(f"{self.path}/{MASTER}")

    async def owner(self) -> str | None:
        """The database whose folder it is, if it is anybody's yet."""
        return (await self.vault.observe_secret(f"{self.path}/{OWNER}") or {}).get(DATABASE)

    async def claimed(self, database: str) -> bool:
        """Whether the folder is that database's; what is nobody's yet becomes its own."""
        kept = await self.vault.ensure_secret(f"{self.path}/{OWNER}", {DATABASE: database})
        return kept.get(DATABASE) == database

    async def orphans(self) -> tuple[str, ...]:
        """UIDs of the keys that were found without a Secret."""
        return await self.vault.list_secrets(f"{self.path}/{ORPHANS}")

    async def orphaned(self, uid: str, now: str) -> str:
        """Note that a key was found without a Secret; when that was first noted."""
        kept = await self.vault.ensure_secret(self._orphan(uid), {SINCE: now})
        return kept.get(SINCE, "")

    async def forget_orphan(self, uid: str) -> None:
        await self.vault.delete_secret(self._orphan(uid))

    def _orphan(self, uid: str) -> str:
        return f"{self.path}/{ORPHANS}/{uid}"

    def _of(self, uid: str) -> str:
        return f"{self.path}/keys/{uid}"


@dataclass(frozen=True, slots=True)
class LayeredKeys:
    """Two places for keys: new ones go to `first`, and both are looked into, so that a move from
    one to the other never hides a key."""

    first: ObjectKeys
    second: ObjectKeys

    async def get(self, uid: str, /) -> bytes | None:
        for _ in range(2):  # a key on its way from the second to the first may be missed once
            for place in (self.first, self.second):
                if (found := await place.get(uid)) is not None:
                    return found
        return None

    async def put(self, uid: str, wrapped: bytes, /) -> bytes:
        return await self.get(uid) or await self.first.put(uid, wrapped)

    async def delete(self, uid: str, /) -> None:
        await self.first.delete(uid)
        await self.second.delete(uid)


@dataclass(frozen=True, slots=True)
class TableKeys:
    """The keys in the database where no Vault is configured: says so once they were moved."""

    table: KeyTable

    async def get(self, uid: str, /) -> bytes | None:
        found = await self.table.get(uid)
        if found is None and await self.table.backend() != "embedded":
            raise moved()
        return found

    async def put(self, uid: str, wrapped: bytes, /) -> bytes:
        return await self.get(uid) or await self.table.put(uid, wrapped)

    async def delete(self, uid: str, /) -> None:
        await self.table.delete(uid)


def moved() -> SecretsUnavailableError:
    return SecretsUnavailableError(
        "cannot open Secrets: their keys are in a Vault; set CP_SECRETS=vault and CP_VAULT_*, or "
        "move them back with `python -m controlplane secrets migrate --to embedded`"
    )


async def embedded_sealer(table: KeyTable, master_file: Path) -> EmbeddedSealer:
    """The backend of a process without a Vault; its first start makes the master key.

    Raises SecretsUnavailableError where the keys are in a Vault: moved there, or never here.
    """
    sealed = await table.sealed_uids()  # before the keys: another may be making the first ones
    held, master = bool(await table.uids()), _master_of(master_file)
    if (sealed and not held and master is None) or await table.backend() != "embedded":
        raise moved()
    master = master or load_master_key(master_file, may_create=not held)
    return EmbeddedSealer(master, TableKeys(table))


@dataclass(slots=True)
class VaultSealer:
    """Implements records.Sealer: ready as soon as the Vault has given the master key once."""

    keys: VaultKeys
    table: KeyTable
    master_file: Path
    prefer: Backend = "vault"
    """Where new keys go; `embedded` while an installation is moved back."""
    _inner: EmbeddedSealer | None = field(default=None, repr=False)

    async def seal(self, uid: str, plaintext: bytes, /, *, ephemeral: bool = False) -> bytes:
        """As the embedded one; raises SecretsUnavailableError while the Vault is away."""
        return await (await self.ready()).seal(uid, plaintext, ephemeral=ephemeral)

    async def open(self, uid: str, blob: bytes, /) -> bytes:
        return await (await self.ready()).open(uid, blob)

    def digest(self, plaintext: bytes, /) -> str:
        """Keyed HMAC-SHA256, hex. Raises SecretsUnavailableError before the Vault was reached."""
        if self._inner is None:
            raise SecretsUnavailableError("cannot compare Secrets: the Vault was not reached yet")
        return self._inner.digest(plaintext)

    async def destroy(self, uid: str, /) -> None:
        await self._places.delete(uid)

    @property
    def _places(self) -> LayeredKeys:
        if self.prefer == "vault":
            return LayeredKeys(self.keys, self.table)
        return LayeredKeys(self.table, self.keys)

    async def ready(self) -> EmbeddedSealer:
        """The sealer with the master key, read when first needed."""
        if self._inner is None:
            master = await find_master(self.keys, self.table, self.master_file, self.prefer)
            self._inner = EmbeddedSealer(master, self._places)
        return self._inner

    async def run(self, clock: Clock) -> None:
        """Reach the Vault as soon as it can be reached; ends then. What is in the way is logged
        once: a setting may be wrong."""
        told = False
        while True:
            try:
                await self.ready()
                return
            except RetryableError as exc:  # the database is asked, too
                if not told:
                    _log.warning("vault_waited_for", error=str(exc))
                told = True
                await clock.sleep(READY_EVERY_S)


async def find_master(keys: VaultKeys, table: KeyTable, file: Path, prefer: Backend) -> MasterKey:
    """The master key: from Vault, else from the file of an installation that is not moved yet,
    else made anew where nothing was ever sealed.

    An empty place in Vault says little: another path, or a Vault that was set up again, is as
    empty as a new one, and another installation's has a master key. So the database is asked,
    which knows what Secrets there are.

    Raises SecretsUnavailableError when it should be there and isn't, TerminalError when there are
    two.
    """
    kept = await keys.master()
    if (here := _master_of(file)) is not None:
        if kept is not None and kept != here.secret:
            raise TerminalError(
                f"cannot choose a master key: that of '{file}' and that in Vault differ; take away "
                "the one that does not belong to this database",
                reason="TwoMasterKeys",
            )
        return here
    secrets = await table.sealed_uids()  # before the keys: another may be making the first ones
    held = {*await table.uids(), *await keys.uids()}
    if kept is not None:
        if secrets.isdisjoint(held):
            await _check_owner(keys, table, sealed=bool(secrets))
        return MasterKey(kept)
    if held:
        raise SecretsUnavailableError(
            "cannot find the master key, neither in Vault nor in the data folder: restore it; "
            "without it no Secret can be opened"
        )
    # on the way back with no Secret left there is nothing to lose: the way out of a lost Vault
    if secrets or (prefer == "vault" and await table.backend() != "embedded"):
        raise _elsewhere(keys, "nothing is there")
    if prefer == "embedded":
        return load_master_key(file, may_create=True)
    return MasterKey(await keys.put_master(new_master()))


async def _check_owner(keys: VaultKeys, table: KeyTable, *, sealed: bool) -> None:
    """Of a folder with no key of the Secrets here. In its own one they are lost, and each is told
    so: this Vault is of an older backup. In another's, nothing is begun."""
    owner = await keys.owner()
    if owner == await table.identity():
        return
    if sealed:
        raise _elsewhere(keys, "what is there is of other Secrets than the database has")
    if owner is not None:
        raise _elsewhere(keys, "what is there is another database's")


def _elsewhere(keys: VaultKeys, found: str) -> SecretsUnavailableError:
    return SecretsUnavailableError(
        f"cannot find the keys of Secrets at '{keys.mount}/{keys.path}' in Vault: {found}; "
        "correct CP_VAULT_ADDRESS, CP_VAULT_MOUNT, CP_VAULT_PATH or CP_INSTANCE, or restore that "
        "Vault's backup"
    )


def _master_of(file: Path) -> MasterKey | None:
    return load_master_key(file, may_create=False) if file.exists() else None


def _encoded(value: bytes) -> dict[str, str]:
    return {VALUE: base64.b64encode(value).decode()}


def _decoded(values: Mapping[str, str] | None, what: str) -> bytes | None:
    if values is None:
        return None
    try:
        return base64.b64decode(values[VALUE], validate=True)
    except (KeyError, ValueError) as exc:
        raise _no_key(what) from exc


def _no_key(what: str) -> SecretsUnavailableError:
    return SecretsUnavailableError(
        f"cannot read the key of '{what}' from Vault: what is kept there is no key"
    )
