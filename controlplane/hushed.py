"""Has the log know the secrets that pass through this process, so that it never writes one.

What a driver or a library puts into an error is not known beforehand; a value that was opened or
sealed here is. Those whose key says that they are secret, and of the others what looks as if made
by chance: to blank out user names, hosts and ports would take the sense out of what is logged.
"""

import base64
import re
from dataclasses import dataclass
from typing import Final, Protocol

import orjson

from controlplane.records import Sealer


class Learn(Protocol):
    """Of a value that must get into no log (logs.Redactor.learn)."""

    def __call__(self, value: str, *, named: bool = True) -> None: ...


_SECRET: Final = re.compile(r"pass|pwd|secret|token|key|credential|auth", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Hushed:
    """Implements records.Sealer around another one."""

    sealer: Sealer
    learn: Learn

    async def seal(self, uid: str, plaintext: bytes, /, *, ephemeral: bool = False) -> bytes:
        self._learn(plaintext)
        return await self.sealer.seal(uid, plaintext, ephemeral=ephemeral)

    async def open(self, uid: str, blob: bytes, /) -> bytes:
        plaintext = await self.sealer.open(uid, blob)
        self._learn(plaintext)
        return plaintext

    def digest(self, plaintext: bytes, /) -> str:
        return self.sealer.digest(plaintext)

    async def destroy(self, uid: str, /) -> None:
        await self.sealer.destroy(uid)

    def _learn(self, plaintext: bytes) -> None:
        """`plaintext` is what store/sealing.py makes of a Secret."""
        for name, value in orjson.loads(plaintext)["data"].items():
            text = base64.b64decode(value).decode(errors="replace")
            self.learn(text, named=_SECRET.search(name) is not None)
