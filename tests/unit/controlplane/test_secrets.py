"""The embedded sealer: what opens, what doesn't, and the master key's file."""

import os
import stat
from pathlib import Path

import pytest

from controlplane.errors import SecretLostError, SecretsUnavailableError, TerminalError
from controlplane.secrets import EmbeddedSealer, MasterKey, load_master_key, write_master_key


class Keys:
    """ObjectKeys in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    async def get(self, uid: str, /) -> bytes | None:
        return self.kept.get(uid)

    async def put(self, uid: str, wrapped: bytes, /) -> bytes:
        return self.kept.setdefault(uid, wrapped)

    async def delete(self, uid: str, /) -> None:
        self.kept.pop(uid, None)


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
def sealer(keys: Keys) -> EmbeddedSealer:
    return EmbeddedSealer(MasterKey(b"m" * 32), keys)


async def test_what_is_sealed_opens_and_shows_nothing(sealer: EmbeddedSealer, keys: Keys) -> None:
    blob = await sealer.seal("u", b"canary")
    assert b"canary" not in blob
    assert await sealer.open("u", blob) == b"canary"
    assert await sealer.seal("u", b"canary") != blob
    assert list(keys.kept) == ["u"]


async def test_a_blob_is_bound_to_its_record(sealer: EmbeddedSealer, keys: Keys) -> None:
    blob = await sealer.seal("u", b"x")
    await sealer.seal("v", b"y")
    with pytest.raises(SecretsUnavailableError):
        await sealer.open("v", blob)
    keys.kept["v"] = keys.kept["u"]
    with pytest.raises(SecretsUnavailableError):
        await sealer.open("v", blob)
    with pytest.raises(SecretsUnavailableError):
        await sealer.open("u", blob[:-1] + bytes([blob[-1] ^ 1]))


async def test_a_destroyed_key_opens_nothing(sealer: EmbeddedSealer) -> None:
    blob = await sealer.seal("u", b"x")
    await sealer.destroy("u")
    with pytest.raises(SecretLostError):
        await sealer.open("u", blob)


async def test_another_master_key_opens_nothing(sealer: EmbeddedSealer, keys: Keys) -> None:
    blob = await sealer.seal("u", b"x")
    other = EmbeddedSealer(MasterKey(b"n" * 32), keys)
    with pytest.raises(SecretsUnavailableError):
        await other.open("u", blob)
    assert other.digest(b"x") != sealer.digest(b"x")
    assert sealer.digest(b"x") == sealer.digest(b"x") != sealer.digest(b"y")


async def test_a_dry_run_leaves_no_key(sealer: EmbeddedSealer, keys: Keys) -> None:
    blob = await sealer.seal("u", b"x", ephemeral=True)
    assert keys.kept == {}
    assert await sealer.open("u", blob) == b"x"


def test_the_key_file_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    with pytest.raises(SecretsUnavailableError):
        load_master_key(path, may_create=False)
    made = load_master_key(path, may_create=True)
    assert load_master_key(path, may_create=True) == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["master.key"]
    assert repr(made) == "MasterKey()"


def test_the_key_file_is_made_where_an_earlier_start_of_that_pid_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    (tmp_path / f"master.key.{os.getpid()}").touch()
    made = load_master_key(path, may_create=True)
    assert load_master_key(path, may_create=False) == made


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of others")
def test_the_key_file_that_root_makes_is_of_whom_the_data_folder_is(tmp_path: Path) -> None:
    """An API without rights, whose Secrets root moves back, or whose agent of root starts first."""
    os.chown(tmp_path, 12345, 54321)
    load_master_key(tmp_path / "made", may_create=True)
    write_master_key(tmp_path / "moved", MasterKey(b"m" * 32))
    for path in tmp_path.iterdir():
        info = path.stat()
        assert (info.st_uid, info.st_gid) == (12345, 54321), path
        assert stat.S_IMODE(info.st_mode) == 0o600


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    load_master_key(path, may_create=True)
    path.chmod(0o640)
    with pytest.raises(TerminalError) as refused:
        load_master_key(path, may_create=False)
    assert refused.value.reason == "MasterKeyExposed"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"bunker-master-key-1:AAAA\n",
        b"x" * 44,
        b"bunker-master-key-1:!",
        b"bunker-master-key-1:" + b"\xff" * 44,
        b"bunker-master-key-1:" + "\u00e9".encode() * 44,
    ],
)
def test_a_damaged_key_file_is_refused(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "master.key"
    path.write_bytes(text)
    path.chmod(0o600)
    with pytest.raises(TerminalError) as refused:
        load_master_key(path, may_create=True)
    assert refused.value.reason == "MasterKeyDamaged"
