"""Reads Secret and ConfigMap values for reconcilers: plan.SecretReader on the records.

The values go to the caller's observe or apply and are kept nowhere.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from controlplane.engine.port import RecordsPort
from controlplane.errors import ConflictError, SecretLostError
from controlplane.records import Key, Stored, View


@dataclass(frozen=True, slots=True)
class StoredValues:
    """As committed: the engine's own writes are in the view before they are acknowledged."""

    view: View
    records: RecordsPort

    async def read(
        self, kind: Literal["Secret", "ConfigMap"], namespace: str, name: str, /
    ) -> Mapping[str, bytes] | None:
        """Decoded values by key; None if there is no such record. Raises
        SecretsUnavailableError, SecretLostError, ConflictError (it was just deleted)."""
        stored = self.view.get(Key(kind, namespace, name))
        if stored is None:
            return None
        obj = await read_current(self.view, self.records, stored)
        if kind == "Secret":
            return _decoded(obj.get("data"))
        plain = {key: text.encode() for key, text in (obj.get("data") or {}).items()}
        return plain | _decoded(obj.get("binaryData"))


async def read_current(view: View, records: RecordsPort, stored: Stored) -> Mapping[str, Any]:
    """The record in clear. Raises ConflictError where it was deleted meanwhile, which destroys its
    key at once; SecretLostError where it is there and its key isn't."""
    try:
        return await records.read(stored)
    except SecretLostError:
        await records.catch_up(5.0)
        now = view.get(stored.key)
        if now is None or now.uid != stored.uid:
            raise ConflictError(f"cannot read {stored.key}: it was just deleted") from None
        raise


def _decoded(data: Mapping[str, str] | None) -> dict[str, bytes]:
    return {key: base64.b64decode(value) for key, value in (data or {}).items()}
