"""Secret files for containers: written by the agent in memory, mounted read-only, never in env.

`<root>/<key>/` is a folder in a tmpfs, mode 0700, owned by the container's user; where that user
is the image's own business, every user of the container may read it (0755, files 0444): on the
host the root, 0700, keeps everyone out. The key is the owner's uid or begins with it.
After a reboot nothing is there until it is written again. What is in the files, and when, is the
reconcilers' to say; nothing here resolves a Secret.
"""

import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeVar

from controlplane.errors import RetryableError, TerminalError
from drivers.threads import on_thread

T = TypeVar("T")

_KEY: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,127}")
_FILE: Final = re.compile(r"(?:[-._a-zA-Z0-9]{1,253}/){0,2}[-._a-zA-Z0-9]{1,253}")
"""A file's name, or that of one a folder or two down (`bindings/shop-db/uri`)."""
_STAGING: Final = ".staging"
_MADE: Final = ".made"
_PRIVATE: Final = 0o700


@dataclass(frozen=True, slots=True)
class SecretFilesState:
    """What is on the host, without any value."""

    key: str
    path: str
    version: str
    """What ensure_files was told they were made from (a Secret's content HMAC, say)."""
    intact: bool
    """Content, modes and owners are as they were written."""


class SecretFiles(Protocol):
    """A place for secret files. Errors arrive as errors.py types."""

    def path_of(self, key: str, /) -> str:
        """The host folder for `key`, for ContainerSpec.secrets_dir. Pure."""
        ...

    async def observe_files(self, key: str, /) -> SecretFilesState | None: ...

    async def ensure_files(
        self,
        key: str,
        files: Mapping[str, bytes],
        /,
        *,
        version: str,
        user: tuple[int, int] | None,
    ) -> SecretFilesState:
        """Exactly these files, each replaced atomically (a reader sees the old or the new one);
        a name may be `folder/name`. `user` is the uid and gid that may read them, None: every
        user of the container; so it is also where this process can't give files away.
        The folder itself stays, as running containers have it mounted. Twice = once."""
        ...

    async def delete_files(self, key: str, /) -> None:
        """Absent: success."""
        ...

    async def list_files(self) -> tuple[str, ...]:
        """Keys that exist, for sweeps."""
        ...


def check_names(key: str, files: Mapping[str, bytes]) -> None:
    """Raises TerminalError for a name that could leave its folder."""
    if not _KEY.fullmatch(key):
        raise TerminalError(f"cannot write secret files '{key}': the key is malformed")
    for name in files:
        if not _FILE.fullmatch(name) or not {".", ".."}.isdisjoint(name.split("/")):
            raise TerminalError(
                f"cannot write secret files '{key}': {name!r} can't be a file's name"
            )


@dataclass(frozen=True, slots=True)
class Access:
    """Who may read a folder of secrets: one user, or (None) every user of the container."""

    user: tuple[int, int] | None

    @property
    def owner(self) -> tuple[int, int]:
        return self.user or (os.geteuid(), os.getegid())

    @property
    def file_mode(self) -> int:
        return 0o444 if self.user is None else 0o400

    @property
    def folder_mode(self) -> int:
        return 0o755 if self.user is None else _PRIVATE


def _access_for(user: tuple[int, int] | None) -> Access:
    """For `user` alone, if files can be given away: only root can. Another's agent lets every user
    of the container read them; on the host its root folder (0700) keeps all others out."""
    ours = (os.geteuid(), os.getegid())
    return Access(user if ours[0] == 0 or user == ours else None)


def content_of(files: Mapping[str, bytes]) -> bytes:
    """All names and contents as one unambiguous byte string, for a keyed digest."""
    parts = [len(files).to_bytes(4, "big")]
    for name, content in sorted(files.items()):
        parts += [
            len(name).to_bytes(4, "big"),
            name.encode(),
            len(content).to_bytes(8, "big"),
            content,
        ]
    return b"".join(parts)


def in_memory(path: Path, mounts: str) -> bool:
    """Whether `path` is on a tmpfs or ramfs, by the text of /proc/mounts (proc(5))."""
    best, kind = "", ""
    for line in mounts.splitlines():
        _, at, this_kind, *_ = line.split(" ")
        if path.is_relative_to(at) and len(at) >= len(best):
            best, kind = at, this_kind
    return kind in {"tmpfs", "ramfs"}


def memory_root(preferred: Path, mounts: str) -> Path:
    """`preferred`, unless it lies in a /run that is on disk (hosts without systemd): then the
    same name in /dev/shm, which is in memory on any Linux."""
    if in_memory(preferred, mounts) or not preferred.is_relative_to("/run"):
        return preferred
    return Path("/dev/shm") / preferred.relative_to("/run")  # noqa: S108  # a tmpfs is what is wanted; the folder is 0700 and checked to be ours


class HostSecretFiles:
    """The real one. `digest` is a keyed HMAC: a plain hash of a short secret can be guessed."""

    def __init__(
        self, root: Path, digest: Callable[[bytes], str], *, require_memory: bool = True
    ) -> None:
        self._root = root
        self._digest = digest
        self._require_memory = require_memory

    def path_of(self, key: str, /) -> str:
        check_names(key, {})
        return str(self._root / key)

    async def observe_files(self, key: str, /) -> SecretFilesState | None:
        check_names(key, {})
        if self._surely_absent(key):
            return None
        return await self._on_host("read", key, lambda: self._observe(key))

    async def ensure_files(
        self,
        key: str,
        files: Mapping[str, bytes],
        /,
        *,
        version: str,
        user: tuple[int, int] | None,
    ) -> SecretFilesState:
        check_names(key, files)
        found = await self._on_host(
            "write", key, lambda: self._ensure(key, files, version, _access_for(user))
        )
        if found is None or not found.intact:
            raise RetryableError(f"cannot write secret files '{key}': changed meanwhile")
        return found

    async def delete_files(self, key: str, /) -> None:
        check_names(key, {})
        await self._on_host("delete", key, lambda: self._delete(key))

    async def list_files(self) -> tuple[str, ...]:
        found = await self._on_host("list", "", self._list)
        return tuple(found)

    async def _on_host(self, verb: str, key: str, call: Callable[[], T]) -> T:
        try:
            return await on_thread(call)
        except OSError as exc:
            # strerror alone: the path is told by the key.
            raise RetryableError(
                f"cannot {verb} secret files '{key}': {exc.strerror or type(exc).__name__}",
                retry_after_s=1.0,
                reason="SecretFiles",
            ) from exc

    def _surely_absent(self, key: str) -> bool:
        """Without a thread: one look into memory, and most Apps have no files."""
        return not os.path.lexists(self._root / key)

    def _observe(self, key: str) -> SecretFilesState | None:
        folder = self._root / key
        if not self._is_ours() or not folder.is_dir() or folder.is_symlink():
            return None
        made = self._read_made(key)
        intact = made.digest != "" and made.digest == self._digest_now(folder, made.access)
        return SecretFilesState(key, str(folder), made.version, intact)

    def _digest_now(self, folder: Path, access: Access) -> str:
        """ "" if anything in it isn't a plain file or folder with the mode and owner promised."""
        inside = list(folder.rglob("*"))
        files = [path for path in inside if path.is_file() and not path.is_symlink()]
        folders = [folder, *(path for path in inside if path.is_dir() and not path.is_symlink())]
        if (
            len(files) + len(folders) != len(inside) + 1
            or not all(_as_promised(path, access.file_mode, access.owner) for path in files)
            or not all(_as_promised(path, access.folder_mode, access.owner) for path in folders)
        ):
            return ""
        named = {str(path.relative_to(folder)): path.read_bytes() for path in files}
        return self._digest(content_of(named))

    def _ensure(
        self, key: str, files: Mapping[str, bytes], version: str, access: Access
    ) -> SecretFilesState | None:
        self._prepare(key)
        folder = self._root / key
        wanted = {folder / name: content for name, content in files.items()}
        folders = {folder} | {
            parent for path in wanted for parent in path.parents if parent.is_relative_to(folder)
        }
        for parent in sorted(folders):
            _make_folder(parent, access)
        for path, content in wanted.items():
            if (
                not _as_promised(path, access.file_mode, access.owner)
                or path.read_bytes() != content
            ):
                self._replace(path, content, access.owner, access.file_mode)
        for path in list(folder.rglob("*")):
            if path not in wanted and path not in folders:
                _remove(path)
        # Last: a crash before it leaves files that are not intact, and so written again.
        made = _Made(version, self._digest(content_of(files)), access)
        self._write_made(key, made)
        return self._observe(key)

    def _prepare(self, key: str) -> None:
        if self._require_memory and not in_memory(
            self._root, Path("/proc/mounts").read_text(encoding="utf-8")
        ):
            raise TerminalError(
                f"cannot write secret files '{key}': {self._root} is not in memory;"
                " choose a folder on a tmpfs",
                reason="SecretsOnDisk",
            )
        around = self._root.parent
        around.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        if not _kept_from_others(around):
            raise TerminalError(
                f"cannot write secret files '{key}': others may change what is in {around}; let it"
                " be this user's or root's, written by nobody else (chmod go-w), and no link",
                reason="SecretsNotPrivate",
            )
        for folder in (self._root, self._root / _STAGING, self._root / _MADE):
            folder.mkdir(mode=_PRIVATE, exist_ok=True)
            # Somebody else's folder, or a link to it, would hand them every secret.
            if not _is_own(folder):
                raise TerminalError(
                    f"cannot write secret files '{key}': {folder} is not this user's folder",
                    reason="SecretsNotPrivate",
                )
            folder.chmod(_PRIVATE)

    def _replace(self, path: Path, content: bytes, owner: tuple[int, int], mode: int) -> None:
        # Staged outside the container's folder: it never sees half a file or a strange name.
        # By a hash: folder and key together may be longer than any name of a file.
        whole = str(path.relative_to(self._root)).encode()
        staged = self._root / _STAGING / hashlib.sha256(whole).hexdigest()
        _remove(staged)
        handle = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            os.fchown(handle, *owner)
            os.fchmod(handle, mode)
        if path.is_dir() and not path.is_symlink():
            _remove(path)
        staged.replace(path)

    def _is_ours(self) -> bool:
        """Whether what is there was made here. Through the folder of somebody else, or a link,
        nothing is looked at and nothing is removed: it may lead anywhere."""
        try:
            return _kept_from_others(self._root.parent) and _is_own(self._root)
        except FileNotFoundError:
            return False

    def _delete(self, key: str) -> None:
        if self._is_ours():
            _remove(self._root / key)
            _remove(self._root / _MADE / key)

    def _list(self) -> list[str]:
        if not self._is_ours():
            return []
        return sorted(path.name for path in self._root.iterdir() if _KEY.fullmatch(path.name))

    def _read_made(self, key: str) -> "_Made":
        try:
            raw = json.loads((self._root / _MADE / key).read_bytes())
            user = None if raw["user"] is None else (int(raw["user"][0]), int(raw["user"][1]))
            return _Made(raw["version"], raw["digest"], Access(user))
        except (FileNotFoundError, ValueError, KeyError, TypeError, IndexError):
            return _Made("", "", Access(None))

    def _write_made(self, key: str, made: "_Made") -> None:
        raw = {"version": made.version, "digest": made.digest, "user": made.access.user}
        self._replace(
            self._root / _MADE / key, json.dumps(raw).encode(), (os.geteuid(), os.getegid()), 0o600
        )


@dataclass(frozen=True, slots=True)
class _Made:
    """Kept beside the files, out of the container's sight: what they were made as."""

    version: str
    digest: str
    access: Access


def _is_own(folder: Path) -> bool:
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _kept_from_others(folder: Path) -> bool:
    """Whether nobody but this user and root can put another folder in the place of one that is in
    it. In /dev/shm anybody may have made it first."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {0, os.geteuid()}:
        return False
    # sticky: who may write there moves only what is theirs
    if not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or found.st_mode & stat.S_ISVTX:
        return True
    if found.st_uid == 0:  # others may be meant to write there
        return False
    # made by an earlier version, whose umask let the group in
    folder.chmod(stat.S_IMODE(found.st_mode) & ~(stat.S_IWGRP | stat.S_IWOTH))
    return True


def _make_folder(folder: Path, access: Access) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        folder.unlink()
    folder.mkdir(mode=_PRIVATE, exist_ok=True)
    os.chown(folder, *access.owner)
    folder.chmod(access.folder_mode)


def _as_promised(path: Path, mode: int, owner: tuple[int, int]) -> bool:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    # no link passes: its own mode is 0777
    return stat.S_IMODE(found.st_mode) == mode and (found.st_uid, found.st_gid) == owner


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
