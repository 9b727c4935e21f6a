"""Secret files in a dict, held to the same contract as the real ones, with a few mischiefs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from controlplane.errors import ControlPlaneError
from drivers.fake.engine import FakeEngine
from drivers.secretfiles import SecretFilesState, check_names


@dataclass(slots=True)
class _Folder:
    files: dict[str, bytes]
    version: str
    user: tuple[int, int] | None
    intact: bool = True


class FakeSecretFiles:
    """`writes` counts calls that changed something."""

    def __init__(self, root: str = "/run/bunker/secrets") -> None:
        self._root = PurePosixPath(root)
        self.folders: dict[str, _Folder] = {}
        self.writes = 0
        self._failures: dict[str, ControlPlaneError] = {}

    def fail_next(self, verb: str, error: ControlPlaneError) -> None:
        """The next call of `verb` raises `error` and does nothing."""
        self._failures[verb] = error

    def tamper(self, key: str, name: str, content: bytes | None) -> None:
        """Somebody changes a file, or removes it (None)."""
        folder = self.folders[key]
        folder.intact = False
        if content is None:
            del folder.files[name]
        else:
            folder.files[name] = content

    def reboot(self) -> None:
        self.folders.clear()

    def path_of(self, key: str, /) -> str:
        check_names(key, {})
        return str(self._root / key)

    async def observe_files(self, key: str, /) -> SecretFilesState | None:
        check_names(key, {})
        self._fail("observe_files")
        folder = self.folders.get(key)
        if folder is None:
            return None
        return SecretFilesState(key, self.path_of(key), folder.version, folder.intact)

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
        self._fail("ensure_files")
        made = _Folder(dict(files), version, user)
        if self.folders.get(key) != made:
            self.folders[key] = made
            self.writes += 1
        return SecretFilesState(key, self.path_of(key), version, intact=True)

    async def delete_files(self, key: str, /) -> None:
        check_names(key, {})
        self._fail("delete_files")
        self.writes += self.folders.pop(key, None) is not None

    async def list_files(self) -> tuple[str, ...]:
        self._fail("list_files")
        return tuple(sorted(self.folders))

    def _fail(self, verb: str) -> None:
        failure = self._failures.pop(verb, None)
        if failure is not None:
            raise failure


ReadFiles = Callable[[str], Mapping[str, bytes] | None]
"""The secret files mounted in the container of that id; None: there are none."""


def mounted(engine: FakeEngine, files: FakeSecretFiles) -> ReadFiles:
    """Each container has the folder of its owner."""

    def read(container_id: str) -> Mapping[str, bytes] | None:
        owner = engine.containers[container_id].state.owner
        folder = None if owner is None else files.folders.get(owner.uid)
        return None if folder is None else folder.files

    return read
