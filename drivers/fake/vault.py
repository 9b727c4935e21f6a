"""A Vault that exists only in a dict: sealed, away, refusing, forgetful on demand."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from controlplane.errors import SecretsUnavailableError
from drivers.fake.engine import CrashError


@dataclass(slots=True)
class FakeVault:
    """`state` other than `open` fails every call."""

    state: Literal["open", "sealed", "away", "refusing"] = "open"
    kept: dict[str, dict[str, str]] = field(default_factory=dict)
    """By path."""
    deleted: set[str] = field(default_factory=set)
    """Paths whose newest version somebody deleted: still there, and no value."""
    seals_in: int | None = None
    """It is sealed after so many calls more."""
    writes: Counter[str] = field(default_factory=Counter)
    _left: int | None = None

    def crash_after(self, changes: int) -> None:
        """After so many changes more the process dies: the change is made, the reply lost."""
        self._left = changes

    def _enter(self, path: str) -> None:
        if self.seals_in is not None:
            self.seals_in -= 1
            if self.seals_in < 0:
                self.state, self.seals_in = "sealed", None
        if self.state != "open":
            raise SecretsUnavailableError(f"cannot use '{path}' in Vault: it is {self.state}")

    def _changed(self, verb: str) -> None:
        self.writes[verb] += 1
        if self._left is not None:
            self._left -= 1
            if self._left <= 0:
                self._left = None
                raise CrashError

    async def observe_secret(self, path: str, /) -> Mapping[str, str] | None:
        self._enter(path)
        if path in self.deleted:
            raise SecretsUnavailableError(f"cannot use '{path}' in Vault: it was deleted there")
        return self.kept.get(path)

    async def list_secrets(self, path: str, /) -> tuple[str, ...]:
        self._enter(path)
        below = (each.removeprefix(f"{path}/") for each in self.kept if each.startswith(f"{path}/"))
        return tuple(sorted({name.partition("/")[0] + "/" * ("/" in name) for name in below}))

    async def ensure_secret(self, path: str, values: Mapping[str, str], /) -> Mapping[str, str]:
        self._enter(path)
        if path not in self.kept:
            self.kept[path] = dict(values)
            self._changed("ensure_secret")
        kept = await self.observe_secret(path)
        assert kept is not None
        return kept

    async def delete_secret(self, path: str, /) -> None:
        self._enter(path)
        if self.kept.pop(path, None) is not None:
            self.deleted.discard(path)
            self._changed("delete_secret")

    async def aclose(self) -> None:
        pass
