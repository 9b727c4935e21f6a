"""What only the real secret files can get wrong: modes, links, disks."""

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from controlplane.errors import RetryableError, TerminalError
from drivers.secretfiles import HostSecretFiles, content_of, in_memory, memory_root

ME = (os.geteuid(), os.getegid())
MOUNTS = "/dev/sda / ext4 rw 0 0\ntmpfs /run tmpfs rw 0 0\ntmpfs /dev/shm tmpfs rw 0 0\n"


@pytest.fixture
def root() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder, "secrets")


def files_in(root: Path) -> HostSecretFiles:
    return HostSecretFiles(root, lambda content: content.hex())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


async def test_files_are_private_to_one_user(root: Path) -> None:
    await files_in(root).ensure_files("uid-1", {"a": b"1"}, version="v", user=ME)
    assert mode(root) == 0o700
    assert mode(root / "uid-1") == 0o700
    assert mode(root / "uid-1" / "a") == 0o400


@contextmanager
def as_somebody_else() -> Iterator[None]:
    """Not root, for the length of a block; who isn't root anyway stays who they are."""
    if ME[0] != 0:
        yield
        return
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(ME[0])
        os.setegid(ME[1])


async def test_who_is_not_root_lets_all_users_of_the_container_read(root: Path) -> None:
    root.parent.chmod(0o1777)  # as /dev/shm is
    with as_somebody_else():
        files = files_in(root)
        await files.ensure_files("uid-1", {"a": b"1"}, version="v", user=(999, 999))
        again = await files.observe_files("uid-1")
        assert again is not None
        assert again.intact
        assert mode(root) == 0o700
        assert mode(root / "uid-1" / "a") == 0o444


async def test_files_for_everyone_in_the_container_are_behind_a_private_root(root: Path) -> None:
    await files_in(root).ensure_files("uid-1", {"d/a": b"1"}, version="v", user=None)
    assert mode(root) == 0o700
    assert mode(root / "uid-1" / "d") == 0o755
    assert mode(root / "uid-1" / "d" / "a") == 0o444


async def test_folder_stays_the_same_one_as_containers_have_it_mounted(root: Path) -> None:
    files = files_in(root)
    await files.ensure_files("uid-1", {"a": b"1"}, version="v", user=ME)
    before = (root / "uid-1").stat().st_ino
    await files.ensure_files("uid-1", {"b": b"2"}, version="w", user=ME)
    assert (root / "uid-1").stat().st_ino == before


async def test_unchanged_file_is_not_written_again(root: Path) -> None:
    files = files_in(root)
    await files.ensure_files("uid-1", {"a": b"1"}, version="v", user=ME)
    before = (root / "uid-1" / "a").stat().st_ino
    await files.ensure_files("uid-1", {"a": b"1", "b": b"2"}, version="v", user=ME)
    assert (root / "uid-1" / "a").stat().st_ino == before


async def test_changed_mode_is_seen_and_mended(root: Path) -> None:
    files = files_in(root)
    await files.ensure_files("uid-1", {"a": b"1"}, version="v", user=ME)
    (root / "uid-1" / "a").chmod(0o644)
    seen = await files.observe_files("uid-1")
    assert seen is not None
    assert not seen.intact
    await files.ensure_files("uid-1", {"a": b"1"}, version="v", user=ME)
    assert mode(root / "uid-1" / "a") == 0o400


async def test_links_are_replaced_and_never_followed(root: Path, tmp_path: Path) -> None:
    files = files_in(root)
    await files.ensure_files("uid-1", {"a": b"1"}, version="v", user=ME)
    outside = tmp_path / "outside"
    outside.write_bytes(b"keep")
    (root / "uid-1" / "a").unlink()
    (root / "uid-1" / "a").symlink_to(outside)
    (root / "uid-2").symlink_to(tmp_path)
    assert await files.observe_files("uid-2") is None
    for key in ("uid-1", "uid-2"):
        made = await files.ensure_files(key, {"a": b"2"}, version="v", user=ME)
        assert made.intact
    assert not (root / "uid-2").is_symlink()
    assert outside.read_bytes() == b"keep"
    assert list(tmp_path.iterdir()) == [outside]


async def test_disk_is_refused(tmp_path: Path) -> None:
    if in_memory(tmp_path, Path("/proc/mounts").read_text(encoding="utf-8")):
        tmp_path = Path("/var/lib/nowhere")
    with pytest.raises(TerminalError) as caught:
        await files_in(tmp_path / "s").ensure_files("uid-1", {}, version="v", user=ME)
    assert caught.value.reason == "SecretsOnDisk"
    assert not (tmp_path / "s").exists()


async def test_root_that_is_a_link_is_refused(root: Path, tmp_path: Path) -> None:
    root.symlink_to(tmp_path)
    with pytest.raises(TerminalError) as caught:
        await files_in(root).ensure_files("uid-1", {}, version="v", user=ME)
    assert caught.value.reason == "SecretsNotPrivate"


@pytest.mark.parametrize("link", ["the root", "around it"])
async def test_nothing_is_removed_where_a_link_of_others_leads(
    root: Path, tmp_path: Path, link: str
) -> None:
    """The first sweep comes before the first file is written."""
    outside = tmp_path / "outside"
    (outside / "secrets" / "uid-1").mkdir(parents=True)
    (outside / "secrets" / "uid-1" / "a").write_bytes(b"keep")
    around = root.parent / "bunker"
    if link == "the root":
        around.mkdir()
        (around / "secrets").symlink_to(outside / "secrets")
    else:
        around.symlink_to(outside)
    files = files_in(around / "secrets")
    assert await files.list_files() == ()
    assert await files.observe_files("uid-1") is None
    await files.delete_files("uid-1")
    assert (outside / "secrets" / "uid-1" / "a").read_bytes() == b"keep"


async def refused(root: Path) -> TerminalError:
    with pytest.raises(TerminalError) as caught:
        await files_in(root).ensure_files("uid-1", {"a": b"1"}, version="v", user=None)
    return caught.value


@pytest.mark.skipif(ME[0] != 0, reason="only root can give a folder to somebody")
@pytest.mark.parametrize(
    ("uid", "bits"),
    [
        pytest.param(12345, 0o777, id="another's"),
        pytest.param(12345, 0o700, id="another's, of whom nobody else has it"),
        pytest.param(12345, 0o1777, id="another's, sticky"),
        pytest.param(0, 0o775, id="a group's"),
        pytest.param(0, 0o777, id="everybody's"),
    ],
)
async def test_a_folder_around_it_that_others_can_change_is_refused(
    root: Path, uid: int, bits: int
) -> None:
    """Whoever made /dev/shm/bunker first could have put another folder in the place of the root
    right after that was looked at."""
    around = root.parent / "bunker"
    around.mkdir()
    os.chown(around, uid, uid)
    around.chmod(bits)
    found = await refused(around / "secrets")
    assert found.reason == "SecretsNotPrivate"
    assert str(around) in str(found)
    assert list(around.iterdir()) == []


async def test_a_folder_around_it_that_is_a_link_is_refused(root: Path) -> None:
    around, elsewhere = root.parent / "bunker", root.parent / "elsewhere"
    elsewhere.mkdir()
    around.symlink_to(elsewhere)
    assert (await refused(around / "secrets")).reason == "SecretsNotPrivate"
    assert list(elsewhere.iterdir()) == []


async def test_the_folder_around_it_is_made_private(root: Path) -> None:
    files = files_in(root.parent / "bunker" / "secrets")
    before = os.umask(0)
    try:
        await files.ensure_files("uid-1", {"a": b"1"}, version="v", user=ME)
    finally:
        os.umask(before)
    assert mode(root.parent / "bunker") == 0o700


async def test_one_that_was_made_under_another_umask_is_closed(root: Path) -> None:
    """By a version that didn't mind, and it is there until the host restarts."""
    around = root.parent / "bunker"
    around.mkdir()
    root.parent.chmod(0o755)
    around.chmod(0o775)
    if ME[0] == 0:
        os.chown(around, 65534, 65534)
    with as_somebody_else():
        files = files_in(around / "secrets")
        await files.ensure_files("uid-1", {"a": b"1"}, version="v", user=None)
    assert mode(around) == 0o755


async def test_errors_of_the_host_are_retryable_and_say_no_path(root: Path) -> None:
    root.parent.joinpath("secrets").write_text("a file")
    with pytest.raises(RetryableError) as caught:
        await files_in(root).ensure_files("uid-1", {}, version="v", user=ME)
    assert str(root) not in str(caught.value)


def test_content_of_is_unambiguous() -> None:
    assert content_of({"a": b"bc"}) != content_of({"ab": b"c"})
    assert content_of({"a": b"", "b": b""}) != content_of({"a": b"b"})
    assert content_of({"a": b"1", "b": b"2"}) == content_of({"b": b"2", "a": b"1"})


def test_memory_root_leaves_a_run_on_disk() -> None:
    usual, on_disk = Path("/run/bunker/secrets"), "/dev/sda / ext4 rw 0 0\n"
    assert in_memory(Path("/run/x"), MOUNTS)
    assert not in_memory(Path("/runner"), MOUNTS)
    assert memory_root(usual, MOUNTS) == usual
    assert memory_root(usual, on_disk) == Path("/dev/shm/bunker/secrets")
    assert memory_root(Path("/srv/x"), on_disk) == Path("/srv/x")
