"""What every place for secret files must do: one suite on the fake and on a real tmpfs."""

import hashlib
import hmac
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from controlplane.errors import TerminalError
from drivers.fake.secretfiles import FakeSecretFiles
from drivers.secretfiles import HostSecretFiles, SecretFiles


class Place(Protocol):
    """Secret files, and somebody who meddles with them."""

    files: SecretFiles

    def tamper(self, key: str, name: str, content: bytes | None) -> None: ...
    def reboot(self) -> None: ...
    def content(self, key: str) -> dict[str, bytes]: ...


class FakePlace:
    def __init__(self) -> None:
        self.fake = FakeSecretFiles()
        self.files: SecretFiles = self.fake
        self.tamper, self.reboot = self.fake.tamper, self.fake.reboot

    def content(self, key: str) -> dict[str, bytes]:
        return self.fake.folders[key].files


class HostPlace:
    def __init__(self, folder: Path) -> None:
        self.root = folder / "secrets"
        self.files: SecretFiles = HostSecretFiles(self.root, keyed)

    def tamper(self, key: str, name: str, content: bytes | None) -> None:
        path = self.root / key / name
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
            path.chmod(0o400)

    def reboot(self) -> None:
        shutil.rmtree(self.root)

    def content(self, key: str) -> dict[str, bytes]:
        folder = self.root / key
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }


def keyed(content: bytes) -> str:
    return hmac.new(b"key", content, hashlib.sha256).hexdigest()


ME = (os.geteuid(), os.getegid())


@pytest.fixture(params=["fake", "host"])
def place(request: Any) -> Iterator[Place]:
    if request.param == "fake":
        yield FakePlace()
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield HostPlace(Path(folder))


async def test_observe_files_is_none_when_absent(place: Place) -> None:
    assert await place.files.observe_files("uid-1") is None
    assert await place.files.list_files() == ()


async def test_ensure_files_writes_exactly_these(place: Place) -> None:
    await place.files.ensure_files("uid-1", {"a": b"1", "b": b"2"}, version="v1", user=ME)
    made = await place.files.ensure_files("uid-1", {"b": b"3", "c": b""}, version="v2", user=ME)
    assert place.content("uid-1") == {"b": b"3", "c": b""}
    assert (made.version, made.intact) == ("v2", True)
    assert made.path == place.files.path_of("uid-1")
    assert made == await place.files.observe_files("uid-1")


async def test_ensure_files_writes_folders_for_everyone(place: Place) -> None:
    files = {"bindings/db/uri": b"x", "bindings/db/host": b"y", "plain": b"z"}
    await place.files.ensure_files("uid-1", files, version="v1", user=None)
    assert place.content("uid-1") == files
    fewer = {"bindings/cache/uri": b"x"}
    made = await place.files.ensure_files("uid-1", fewer, version="v2", user=None)
    assert made.intact
    assert place.content("uid-1") == fewer


async def test_ensure_files_takes_names_as_long_as_keys_of_secrets(place: Place) -> None:
    folder, key = "f" * 253, "k" * 253
    files = {key: b"1", f"bindings/{folder}/{key}": b"2"}
    made = await place.files.ensure_files("uid-1", files, version="v1", user=ME)
    assert made.intact
    assert place.content("uid-1") == files


async def test_ensure_files_twice_is_once(place: Place) -> None:
    first = await place.files.ensure_files("uid-1", {"a": b"1"}, version="v1", user=ME)
    assert first == await place.files.ensure_files("uid-1", {"a": b"1"}, version="v1", user=ME)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("a", b"changed", id="changed"),
        pytest.param("a", None, id="removed"),
        pytest.param("more", b"", id="added"),
    ],
)
async def test_tampered_files_are_seen_and_mended(
    place: Place, name: str, content: bytes | None
) -> None:
    await place.files.ensure_files("uid-1", {"a": b"1"}, version="v1", user=ME)
    place.tamper("uid-1", name, content)
    seen = await place.files.observe_files("uid-1")
    assert seen is not None
    assert not seen.intact
    assert (await place.files.ensure_files("uid-1", {"a": b"1"}, version="v1", user=ME)).intact
    assert place.content("uid-1") == {"a": b"1"}


async def test_files_are_gone_after_a_reboot_and_come_back(place: Place) -> None:
    await place.files.ensure_files("uid-1", {"a": b"1"}, version="v1", user=ME)
    place.reboot()
    assert await place.files.observe_files("uid-1") is None
    assert (await place.files.ensure_files("uid-1", {"a": b"1"}, version="v1", user=ME)).intact


async def test_delete_files_of_an_absent_one_succeeds(place: Place) -> None:
    await place.files.ensure_files("uid-1", {"a": b"1"}, version="v1", user=ME)
    await place.files.ensure_files("uid-2", {"a": b"1"}, version="v1", user=ME)
    for _ in range(2):
        await place.files.delete_files("uid-1")
    assert await place.files.list_files() == ("uid-2",)


@pytest.mark.parametrize("key", ["", "..", "../x", "a/b", ".made", "UP"])
async def test_malformed_keys_are_refused(place: Place, key: str) -> None:
    with pytest.raises(TerminalError):
        await place.files.ensure_files(key, {}, version="", user=ME)
    with pytest.raises(TerminalError):
        await place.files.delete_files(key)


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/a", "a/../b", "a/b/c/d", "a\0b", "é"])
async def test_malformed_names_are_refused(place: Place, name: str) -> None:
    with pytest.raises(TerminalError):
        await place.files.ensure_files("uid-1", {name: b"x"}, version="", user=ME)
    assert await place.files.observe_files("uid-1") is None
