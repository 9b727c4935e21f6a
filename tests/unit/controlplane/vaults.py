"""Keys of Secrets in two places, both of them fakes."""

from collections import Counter
from dataclasses import dataclass, field

from drivers.fake.engine import CrashError


@dataclass(slots=True)
class FakeTable:
    """The keys in the database, as store/keys.py has them."""

    kept: dict[str, bytes] = field(default_factory=dict)
    where: str = "embedded"
    secrets: set[str] = field(default_factory=set)
    """UIDs of the Secrets there are."""
    name: str | None = "this"
    changes: Counter[str] = field(default_factory=Counter)
    _left: int | None = None

    def crash_after(self, changes: int) -> None:
        self._left = changes

    def _changed(self, verb: str) -> None:
        self.changes[verb] += 1
        if self._left is not None:
            self._left -= 1
            if self._left <= 0:
                self._left = None
                raise CrashError

    async def get(self, uid: str, /) -> bytes | None:
        return self.kept.get(uid)

    async def put(self, uid: str, wrapped: bytes, /) -> bytes:
        found = self.kept.setdefault(uid, wrapped)
        self._changed("put")
        return found

    async def delete(self, uid: str, /) -> None:
        self.kept.pop(uid, None)
        self._changed("delete")

    async def uids(self) -> tuple[str, ...]:
        return tuple(sorted(self.kept))

    async def backend(self) -> str:
        return self.where

    async def set_backend(self, name: str, /) -> None:
        self.where = name
        self._changed("set_backend")

    async def sealed_uids(self) -> frozenset[str]:
        return frozenset(self.secrets)

    async def identity(self) -> str | None:
        return self.name
