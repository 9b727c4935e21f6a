"""Secret files for containers: written by the agent in memory, mounted read-only, never in env.

`<root>/<key>/` is a folder in a tmpfs, mode 0700, owned by the container's user; the key is the
owner's uid or begins with it. After a reboot nothing is there until it is written again. What is
in the files, and when, is the reconcilers' to say; nothing here resolves a Secret.
"""

import asyncio
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

T = TypeVar("T")

_KEY: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,127}")
_FILE: Final = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_STAGING: Final = ".staging"
_MADE: Final = ".made"
_FILE_MODE: Final = 0o400
_FOLDER_MODE: Final = 0o700


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
        user_id: int,
        group_id: int,
    ) -> SecretFilesState:
        """Exactly these files, each replaced atomically (a reader sees the old or the new one).
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
        if not _FILE.fullmatch(name) or name in {".", ".."}:
            raise TerminalError(
                f"cannot write secret files '{key}': {name!r} can't be a file's name"
            )


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


def default_root(mounts: str) -> Path:
    """/run where that is in memory (any systemd host), else /dev/shm."""
    usual = Path("/run/bunker/secrets")
    return usual if in_memory(usual, mounts) else Path("/dev/shm/bunker/secrets")  # noqa: S108  # a tmpfs is what is wanted; the folder is 0700 and checked to be ours


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
        return await self._on_host("read", key, lambda: self._observe(key))

    async def ensure_files(
        self,
        key: str,
        files: Mapping[str, bytes],
        /,
        *,
        version: str,
        user_id: int,
        group_id: int,
    ) -> SecretFilesState:
        check_names(key, files)
        found = await self._on_host(
            "write", key, lambda: self._ensure(key, files, version, (user_id, group_id))
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
            return await asyncio.to_thread(call)
        except OSError as exc:
            # strerror alone: the path is told by the key.
            raise RetryableError(
                f"cannot {verb} secret files '{key}': {exc.strerror or type(exc).__name__}",
                retry_after_s=1.0,
                reason="SecretFiles",
            ) from exc

    def _observe(self, key: str) -> SecretFilesState | None:
        folder = self._root / key
        if not folder.is_dir() or folder.is_symlink():
            return None
        made = self._read_made(key)
        owner = (made.user_id, made.group_id)
        intact = _as_promised(folder, _FOLDER_MODE, owner) and made.digest == self._digest_now(
            folder, owner
        )
        return SecretFilesState(key, str(folder), made.version, intact)

    def _digest_now(self, folder: Path, owner: tuple[int, int]) -> str:
        """ "" if anything in it isn't a plain file with the mode and owner promised."""
        paths = list(folder.iterdir())
        if not all(_as_promised(path, _FILE_MODE, owner) for path in paths):
            return ""
        return self._digest(content_of({path.name: path.read_bytes() for path in paths}))

    def _ensure(
        self, key: str, files: Mapping[str, bytes], version: str, owner: tuple[int, int]
    ) -> SecretFilesState | None:
        self._prepare(key)
        folder = self._root / key
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            folder.unlink()
        folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
        os.chown(folder, *owner)
        folder.chmod(_FOLDER_MODE)
        for name, content in files.items():
            path = folder / name
            if not _as_promised(path, _FILE_MODE, owner) or path.read_bytes() != content:
                self._replace(path, content, owner, _FILE_MODE)
        for path in folder.iterdir():
            if path.name not in files:
                _remove(path)
        # Last: a crash before it leaves files that are not intact, and so written again.
        made = _Made(version, self._digest(content_of(files)), *owner)
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
        self._root.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        for folder in (self._root, self._root / _STAGING, self._root / _MADE):
            folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
            found = folder.lstat()
            # Somebody else's folder, or a link to it, would hand them every secret.
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                raise TerminalError(
                    f"cannot write secret files '{key}': {folder} is not this user's folder",
                    reason="SecretsNotPrivate",
                )
            folder.chmod(_FOLDER_MODE)

    def _replace(self, path: Path, content: bytes, owner: tuple[int, int], mode: int) -> None:
        # Staged outside the container's folder: it never sees half a file or a strange name.
        staged = self._root / _STAGING / f"{path.parent.name}.{path.name}"
        _remove(staged)
        handle = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            os.fchown(handle, *owner)
            os.fchmod(handle, mode)
        if path.is_dir() and not path.is_symlink():
            _remove(path)
        staged.replace(path)

    def _delete(self, key: str) -> None:
        _remove(self._root / key)
        _remove(self._root / _MADE / key)

    def _list(self) -> list[str]:
        if not self._root.is_dir():
            return []
        return sorted(path.name for path in self._root.iterdir() if _KEY.fullmatch(path.name))

    def _read_made(self, key: str) -> "_Made":
        try:
            raw = json.loads((self._root / _MADE / key).read_bytes())
            return _Made(raw["version"], raw["digest"], raw["user_id"], raw["group_id"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return _Made("", "", -1, -1)

    def _write_made(self, key: str, made: "_Made") -> None:
        raw = {
            "version": made.version,
            "digest": made.digest,
            "user_id": made.user_id,
            "group_id": made.group_id,
        }
        self._replace(
            self._root / _MADE / key, json.dumps(raw).encode(), (os.geteuid(), os.getegid()), 0o600
        )


@dataclass(frozen=True, slots=True)
class _Made:
    """Kept beside the files, out of the container's sight: what they were made as."""

    version: str
    digest: str
    user_id: int
    group_id: int


def _as_promised(path: Path, mode: int, owner: tuple[int, int]) -> bool:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    kind = stat.S_ISDIR if mode == _FOLDER_MODE else stat.S_ISREG
    return (
        kind(found.st_mode)
        and stat.S_IMODE(found.st_mode) == mode
        and (found.st_uid, found.st_gid) == owner
    )


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
