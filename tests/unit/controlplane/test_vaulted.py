"""The Vault backend: what opens, what waits, and that a move between backends loses nothing. Over
400 lines, as what is refused at a start and what a move leaves are told by the same few Secrets."""

import asyncio
import logging
from collections.abc import Collection, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
import structlog.testing

from controlplane.errors import (
    SecretLostError,
    SecretsUnavailableError,
    StoreUnavailableError,
    TerminalError,
)
from controlplane.keysweep import KEPT, SWEEP_EVERY_S, KeySweeper
from controlplane.moving import Mover
from controlplane.secrets import EmbeddedSealer, load_master_key
from controlplane.vaulted import (
    READY_EVERY_S,
    Backend,
    LayeredKeys,
    VaultKeys,
    VaultSealer,
    embedded_sealer,
)
from drivers.fake.engine import CrashError
from drivers.fake.vault import FakeVault
from tests.clock import ManualClock
from tests.unit.controlplane.vaults import FakeTable

UIDS = ("a", "b", "c")


class Place:
    """An installation: its data folder, database and Vault."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "master.key"
        self.table = FakeTable()
        self.vault = FakeVault()
        self.keys = VaultKeys(self.vault, "bunker/x")

    async def embedded(self) -> EmbeddedSealer:
        """As a process without a Vault starts."""
        return await embedded_sealer(self.table, self.file)

    def vaulted(self, prefer: Backend = "vault") -> VaultSealer:
        return VaultSealer(self.keys, self.table, self.file, prefer)

    async def move(self, to: Backend) -> int:
        return (await Mover(self.table, self.keys, self.file).move(to)).keys


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def sealed(place: Place, to: Backend = "embedded") -> dict[str, bytes]:
    """Blobs of three Secrets, sealed by a backend."""
    sealer = await place.embedded() if to == "embedded" else place.vaulted()
    blobs = {uid: await sealer.seal(uid, f"value of {uid}".encode()) for uid in UIDS}
    place.table.secrets.update(UIDS)
    return blobs


async def opens(sealer: EmbeddedSealer | VaultSealer, blobs: dict[str, bytes]) -> None:
    for uid, blob in blobs.items():
        assert await sealer.open(uid, blob) == f"value of {uid}".encode()


# --- the backend -------------------------------------------------------------------------------


async def test_its_keys_are_in_the_vault_and_nowhere_else(place: Place) -> None:
    blobs = await sealed(place, "vault")
    await opens(place.vaulted(), blobs)
    assert sorted(place.vault.kept) == [
        *(f"bunker/x/keys/{uid}" for uid in UIDS),
        "bunker/x/master",
    ]
    assert place.table.kept == {}
    assert not place.file.exists()


async def test_a_dry_run_leaves_no_key(place: Place) -> None:
    sealer = place.vaulted()
    blob = await sealer.seal("dry", b"x", ephemeral=True)
    assert await sealer.open("dry", blob) == b"x"
    assert list(place.vault.kept) == ["bunker/x/master"]


@pytest.mark.parametrize("state", ["sealed", "away", "refusing"])
async def test_while_the_vault_is_away_secrets_are_unavailable_and_not_missing(
    place: Place, state: str
) -> None:
    blobs = await sealed(place, "vault")
    running = place.vaulted()
    await opens(running, blobs)
    place.vault.state = state  # type: ignore[assignment]  # one of them
    for sealer in (running, place.vaulted()):
        with pytest.raises(SecretsUnavailableError):
            await sealer.open("a", blobs["a"])
        with pytest.raises(SecretsUnavailableError):
            await sealer.seal("new", b"x")
    place.vault.state = "open"
    await opens(running, blobs)


async def test_one_that_starts_before_its_vault_becomes_ready_with_it(place: Place) -> None:
    clock = ManualClock()
    place.vault.state = "sealed"
    sealer = place.vaulted()
    with pytest.raises(SecretsUnavailableError):
        sealer.digest(b"x")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sealer.run(clock))
        await clock.advance(60)
        place.vault.state = "open"
        await clock.advance(60)
    assert sealer.digest(b"x") == sealer.digest(b"x")


@pytest.fixture
def logs() -> Iterator[list[MutableMapping[str, Any]]]:
    """Also after tests that want none."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    with structlog.testing.capture_logs() as logs:
        yield logs
    structlog.configure(**before)


async def test_why_the_vault_cannot_be_used_is_logged_once(
    place: Place, logs: list[MutableMapping[str, Any]]
) -> None:
    clock = ManualClock()
    place.vault.state = "sealed"
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(place.vaulted().run(clock))
        await clock.advance(60)
        place.vault.state = "open"
        await clock.advance(60)
    (told,) = logs
    assert (told["event"], told["log_level"]) == ("vault_waited_for", "warning")
    assert "sealed" in told["error"]


async def test_one_that_starts_while_the_database_is_away_becomes_ready_with_it(
    place: Place,
) -> None:
    class Table(FakeTable):
        away = True

        async def uids(self) -> tuple[str, ...]:
            if self.away:
                raise StoreUnavailableError("cannot read the Secrets' keys")
            return await FakeTable.uids(self)

    clock, table = ManualClock(), Table()
    sealer = VaultSealer(place.keys, table, place.file)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sealer.run(clock))
        await clock.advance(60)
        table.away = False
        await clock.advance(60)
    assert place.vault.kept.keys() == {"bunker/x/master"}


async def test_a_destroyed_key_opens_nothing(place: Place) -> None:
    blobs = await sealed(place, "vault")
    sealer = place.vaulted()
    await sealer.destroy("a")
    with pytest.raises(SecretLostError):
        await sealer.open("a", blobs["a"])


async def test_a_lost_master_key_is_not_made_anew(place: Place) -> None:
    await sealed(place, "vault")
    del place.vault.kept["bunker/x/master"]
    with pytest.raises(SecretsUnavailableError):
        await place.vaulted().seal("new", b"x")


@pytest.mark.parametrize("prefer", ["vault", "embedded"])
async def test_no_master_key_is_made_for_another_place_while_there_are_secrets(
    place: Place, prefer: Backend
) -> None:
    """Another path, or the same one in a Vault that was set up anew."""
    blobs = await sealed(place, "vault")
    anew = FakeVault()
    for vault, path in ((place.vault, "bunker/y"), (anew, "bunker/x")):
        before = dict(vault.kept)
        sealer = VaultSealer(VaultKeys(vault, path), place.table, place.file, prefer)
        with pytest.raises(SecretsUnavailableError, match=f"secret/{path}.*CP_VAULT_PATH"):
            await sealer.open("a", blobs["a"])
        with pytest.raises(SecretsUnavailableError):
            await sealer.seal("new", b"x")
        for to in ("vault", "embedded"):
            with pytest.raises(SecretsUnavailableError):
                await Mover(place.table, VaultKeys(vault, path), place.file).move(to)
        assert vault.kept == before
    assert (anew.kept, place.table.kept, place.file.exists()) == ({}, {}, False)
    await opens(place.vaulted(), blobs)


async def test_another_installations_master_key_is_not_taken_for_its_own(
    place: Place, tmp_path: Path
) -> None:
    blobs = await sealed(place, "vault")
    other = VaultKeys(place.vault, "bunker/y")
    await VaultSealer(other, FakeTable(), tmp_path / "none").seal("of the other", b"x")
    before = dict(place.vault.kept)
    lost = VaultSealer(other, place.table, place.file)
    with pytest.raises(SecretsUnavailableError, match=r"secret/bunker/y.*CP_VAULT_PATH"):
        await lost.open("a", blobs["a"])
    with pytest.raises(SecretsUnavailableError):
        await lost.seal("new", b"x")
    assert place.vault.kept == before


async def test_a_new_installation_begins_nothing_in_the_folder_of_another(
    place: Place, tmp_path: Path
) -> None:
    blobs = await sealed(place, "vault")
    assert await place.keys.claimed("this")
    before = dict(place.vault.kept)
    for name in ("other", None):
        other = VaultSealer(place.keys, FakeTable(name=name), tmp_path / "none")
        with pytest.raises(
            SecretsUnavailableError, match=r"secret/bunker/x.*another.*CP_VAULT_PATH"
        ):
            await other.seal("of the other", b"x")
    assert place.vault.kept == before
    await opens(place.vaulted(), blobs)


async def test_one_that_began_in_the_folder_of_another_takes_only_its_own_keys_back(
    place: Place, tmp_path: Path
) -> None:
    """As an earlier release let it."""
    blobs = await sealed(place, "vault")
    other = Place(tmp_path / "other")
    other.vault, other.keys, other.table.name = place.vault, place.keys, "other"
    other.file.parent.mkdir()
    blob = await other.vaulted().seal("of the other", b"x")
    other.table.secrets.add("of the other")
    assert await place.keys.claimed("this")
    before = {path: kept for path, kept in place.vault.kept.items() if "other" not in path}

    assert await other.move("embedded") == 1
    assert place.vault.kept == before
    assert await (await other.embedded()).open("of the other", blob) == b"x"
    await opens(place.vaulted(), blobs)


async def test_in_its_own_folder_lost_keys_are_lost_and_new_ones_made(place: Place) -> None:
    blobs = await sealed(place, "vault")
    assert await place.keys.claimed("this")
    for uid in UIDS:
        await place.keys.delete(uid)
    with pytest.raises(SecretLostError):
        await place.vaulted().open("a", blobs["a"])
    assert await place.vaulted().seal("a", b"x")


async def test_with_some_keys_lost_the_others_open(place: Place) -> None:
    blobs = await sealed(place, "vault")
    for uid in ("a", "b"):
        await place.keys.delete(uid)
    await opens(place.vaulted(), {"c": blobs["c"]})
    with pytest.raises(SecretLostError):
        await place.vaulted().open("a", blobs["a"])


async def test_moved_to_a_vault_no_other_place_is_begun_even_without_secrets(place: Place) -> None:
    await place.move("vault")
    elsewhere = VaultKeys(place.vault, "bunker/y")
    with pytest.raises(SecretsUnavailableError):
        await VaultSealer(elsewhere, place.table, place.file).seal("new", b"x")
    # nothing would be lost: the way out once that Vault is
    await Mover(place.table, elsewhere, place.file).move("embedded")
    assert await (await place.embedded()).seal("new", b"x")


async def test_begun_in_a_vault_a_process_without_one_makes_no_master_key(place: Place) -> None:
    await sealed(place, "vault")
    with pytest.raises(SecretsUnavailableError, match="CP_SECRETS"):
        await place.embedded()
    assert not place.file.exists()


@pytest.mark.parametrize("what", ["master", "keys/a"])
@pytest.mark.parametrize("value", ["", "AAAA", "caf\u00e9", "!"])
async def test_what_is_no_key_opens_and_seals_nothing(place: Place, what: str, value: str) -> None:
    blobs = await sealed(place, "vault")
    place.vault.kept[f"bunker/x/{what}"] = {"key": value}
    with pytest.raises(SecretsUnavailableError):
        await place.vaulted().open("a", blobs["a"])
    with pytest.raises(SecretsUnavailableError):
        await place.vaulted().seal("a", b"x")


async def test_two_master_keys_are_refused(place: Place) -> None:
    await sealed(place, "vault")
    load_master_key(place.file, may_create=True)
    with pytest.raises(TerminalError) as told:
        await place.vaulted().ready()
    assert told.value.reason == "TwoMasterKeys"


@dataclass
class Database:
    """What a sweep asks of one; `away` fails every call."""

    name: str | None = "this"
    secrets: frozenset[str] = frozenset()
    deleted: frozenset[str] = frozenset()
    away: bool = False

    async def identity(self) -> str | None:
        self._enter()
        return self.name

    async def sealed_uids(self) -> frozenset[str]:
        self._enter()
        return self.secrets

    async def deleted_uids(self, among: Collection[str], /) -> frozenset[str]:
        self._enter()
        return self.deleted.intersection(among)

    def _enter(self) -> None:
        if self.away:
            raise StoreUnavailableError("cannot list the Secrets: PostgreSQL does not answer")


async def test_keys_of_deleted_secrets_go_at_the_next_sweep(place: Place) -> None:
    await sealed(place, "vault")
    database = Database(secrets=frozenset({"b"}), deleted=frozenset({"a", "c", "long ago"}))
    sweeper = KeySweeper(place.keys, database, ManualClock())
    await place.keys.put("d", b"new")
    assert await sweeper.once() == 2
    assert await place.keys.uids() == ("b", "d")


async def test_a_key_that_nobody_deleted_outlives_the_restore_of_an_older_backup(
    place: Place,
) -> None:
    blobs = await sealed(place, "vault")
    newer, older = Database(secrets=frozenset(UIDS)), Database(secrets=frozenset({"b"}))
    clock = ManualClock()
    await KeySweeper(place.keys, newer, clock).once()
    for _ in range(6):  # each by a process of its own: none remembers
        assert await KeySweeper(place.keys, older, clock).once() == 0
        await clock.advance(24 * 3600)
    assert await KeySweeper(place.keys, newer, clock).once() == 0
    await opens(place.vaulted(), blobs)
    assert await place.keys.orphans() == ()
    await clock.advance(24 * 3600)
    assert await KeySweeper(place.keys, older, clock).once() == 0  # it begins anew


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_key_without_a_secret_goes_after_a_week(place: Place, restarts: bool) -> None:
    await sealed(place, "vault")
    clock, database = ManualClock(), Database(secrets=frozenset({"b"}))
    sweeper = KeySweeper(place.keys, database, clock)
    assert await sweeper.once() == 0
    await clock.advance(KEPT.total_seconds() - 1)
    assert await sweeper.once() == 0
    await clock.advance(1)
    if restarts:
        sweeper = KeySweeper(place.keys, database, clock)
    assert await sweeper.once() == 2
    assert (await place.keys.uids(), await place.keys.orphans()) == (("b",), ())


async def test_deleted_ones_go_even_where_nothing_may_be_noted(place: Place) -> None:
    """By a policy that allows no more than it had to before."""
    await sealed(place, "vault")
    database = Database(secrets=frozenset({"b"}), deleted=frozenset({"a"}))
    ensure = place.vault.ensure_secret

    async def refused(path: str, values: Mapping[str, str], /) -> Mapping[str, str]:
        if "/orphans/" in path:
            raise SecretsUnavailableError(f"cannot use '{path}' in Vault: not allowed")
        return await ensure(path, values)

    vault: Any = SimpleNamespace(
        ensure_secret=refused,
        list_secrets=place.vault.list_secrets,
        delete_secret=place.vault.delete_secret,
    )
    with pytest.raises(SecretsUnavailableError):
        await KeySweeper(VaultKeys(vault, place.keys.path), database, ManualClock()).once()
    assert await place.keys.uids() == ("b", "c")


@pytest.mark.parametrize("name", ["another", None])
async def test_no_key_goes_on_the_word_of_another_database(place: Place, name: str | None) -> None:
    """A second installation with the same folder, or a new database before the backup is back."""
    await sealed(place, "vault")
    own = Database(secrets=frozenset(UIDS))
    await KeySweeper(place.keys, own, ManualClock()).once()
    stranger = KeySweeper(place.keys, Database(name), ManualClock())
    for _ in range(3):
        assert await stranger.once() == 0
    assert await place.keys.uids() == UIDS
    back = Database(secrets=frozenset({"b"}), deleted=frozenset({"a", "c"}))
    assert await KeySweeper(place.keys, back, ManualClock()).once() == 2


async def test_the_sweep_goes_on_after_an_outage_of_the_vault_or_the_database(
    place: Place,
) -> None:
    await sealed(place, "vault")
    clock = ManualClock()
    database = Database(secrets=frozenset({"b"}), deleted=frozenset({"a", "c"}))
    async with asyncio.TaskGroup() as tasks:
        sweeping = tasks.create_task(KeySweeper(place.keys, database, clock).run())
        database.away = True
        await clock.advance(SWEEP_EVERY_S)
        database.away = False
        place.vault.state = "sealed"
        await clock.advance(SWEEP_EVERY_S)
        place.vault.state = "open"
        assert await place.keys.uids() == UIDS
        await clock.advance(SWEEP_EVERY_S)
        sweeping.cancel()
    assert await place.keys.uids() == ("b",)


class AwayTable(FakeTable):
    """Of a database that does not answer yet."""

    away = True

    async def uids(self) -> tuple[str, ...]:
        if self.away:
            raise StoreUnavailableError("cannot list: PostgreSQL does not answer")
        return await FakeTable.uids(self)


async def test_the_vault_is_reached_when_the_database_was_away(place: Place) -> None:
    clock, table = ManualClock(), AwayTable()
    sealer = VaultSealer(place.keys, table, place.file)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sealer.run(clock))
        await clock.advance(READY_EVERY_S)
        table.away = False
        await clock.advance(READY_EVERY_S)
    assert sealer.digest(b"x") == sealer.digest(b"x")


# --- moving --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("start", "to"), [("embedded", "vault"), ("vault", "embedded")])
async def test_a_move_takes_all_keys_and_leaves_every_secret_as_it_was(
    place: Place, start: Backend, to: Backend
) -> None:
    blobs = await sealed(place, start)
    before = await place.embedded() if start == "embedded" else await place.vaulted().ready()
    digest = before.digest(b"content")
    assert await place.move(to) == 3
    after = place.vaulted() if to == "vault" else await place.embedded()
    await opens(after, blobs)
    assert after.digest(b"content") == digest
    assert (place.table.kept == {}, place.file.exists()) == (to == "vault", to == "embedded")
    assert bool(place.vault.kept) == (to == "vault")
    assert await place.move(to) == 0
    await opens(after, blobs)


async def test_a_move_and_back_is_as_if_it_never_was(place: Place) -> None:
    blobs = await sealed(place)
    kept, master = dict(place.table.kept), place.file.read_text()
    await place.move("vault")
    await place.move("embedded")
    assert (place.table.kept, place.file.read_text(), place.table.where) == (
        kept,
        master,
        "embedded",
    )
    await opens(await place.embedded(), blobs)


async def test_a_move_back_leaves_nothing_of_it_in_the_vault(place: Place) -> None:
    await sealed(place, "vault")
    sweeper = KeySweeper(place.keys, Database(secrets=frozenset({"b"})), ManualClock())
    assert await sweeper.once() == 0
    assert await place.keys.orphans() == ("a", "c")
    await place.move("embedded")
    assert place.vault.kept == {}


@pytest.mark.parametrize("where", ["table", "vault"])
@pytest.mark.parametrize(("start", "to"), [("embedded", "vault"), ("vault", "embedded")])
async def test_cut_off_after_any_change_nothing_is_lost_and_a_second_run_ends_it(
    tmp_path: Path, start: Backend, to: Backend, where: str
) -> None:
    crashes = 0
    for changes in range(1, 12):
        folder = tmp_path / str(changes)
        folder.mkdir()
        place = Place(folder)
        blobs = await sealed(place, start)
        # one process that ran all the time, in the mode it is moved from; it knows both places
        running = place.vaulted(start)
        await opens(running, blobs)
        (place.table if where == "table" else place.vault).crash_after(changes)
        try:
            await place.move(to)
        except CrashError:
            crashes += 1
            for each in (running, place.vaulted("vault"), place.vaulted("embedded")):
                await opens(each, blobs)
            late = await running.seal("late", b"value of late")
            blobs["late"] = late
        place.table._left = place.vault._left = None
        await place.move(to)
        await opens(running, blobs)
        await opens(place.vaulted() if to == "vault" else await place.embedded(), blobs)
    assert crashes >= 3


async def test_moved_away_a_process_without_a_vault_says_so(place: Place) -> None:
    blobs = await sealed(place)
    old = await place.embedded()
    await place.move("vault")
    with pytest.raises(SecretsUnavailableError, match="CP_SECRETS"):
        await old.open("a", blobs["a"])


@pytest.mark.parametrize("calls", range(1, 15, 2))
async def test_sealed_in_the_middle_it_stops_and_loses_nothing(place: Place, calls: int) -> None:
    blobs = await sealed(place)
    running = place.vaulted("embedded")
    await opens(running, blobs)
    place.vault.seals_in = calls
    with pytest.raises(SecretsUnavailableError):
        await place.move("vault")
    place.vault.state = "open"
    await opens(running, blobs)
    await place.move("vault")
    await opens(place.vaulted(), blobs)


async def test_another_installations_folder_is_refused(place: Place, tmp_path: Path) -> None:
    await sealed(place)
    other = tmp_path / "other"
    other.mkdir()
    elsewhere = Place(other)
    elsewhere.vault, elsewhere.keys = place.vault, place.keys
    await sealed(elsewhere, "vault")
    with pytest.raises(TerminalError):
        await place.move("vault")
    assert len(place.table.kept) == 3


class Moving(FakeTable):
    """Just after it was looked into, the key comes to it, and goes from the other."""

    other: FakeTable

    async def get(self, uid: str, /) -> bytes | None:
        found = self.kept.get(uid)
        if uid in self.other.kept:
            self.kept[uid] = self.other.kept.pop(uid)
        return found


async def test_a_key_is_found_while_it_changes_places() -> None:
    first, second = Moving(), FakeTable({"a": b"k"})
    first.other = second
    assert await LayeredKeys(first, second).get("a") == b"k"
