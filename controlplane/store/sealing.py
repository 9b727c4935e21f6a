"""How a Secret looks in the store: everything secret in one blob, the rest as it is.

Its data and the last-applied annotation (which repeats the data) are sealed; key names, type
and a keyed digest of the data stay readable, so that caches, lists and no-op checks need no key.
"""

import base64
from collections.abc import Mapping
from typing import Any, Final

import orjson

from controlplane.errors import SecretLostError
from controlplane.records import Sealer

SECRET: Final = "Secret"  # noqa: S105  # a kind, not a password
LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
_CLEAR: Final = ("data", "stringData")
_SEALED: Final = ("sealed", "secretKeys", "contentHmac")

Obj = dict[str, Any]


def merged(obj: Mapping[str, Any]) -> Obj:
    """The Secret with stringData written into data, as Kubernetes does."""
    made = {k: v for k, v in obj.items() if k not in {"stringData", *_SEALED}}
    data = dict(obj.get("data") or {})
    for name, text in (obj.get("stringData") or {}).items():
        data[name] = base64.b64encode(text.encode()).decode()
    made.pop("data", None)
    if data:
        made["data"] = data
    return made


async def sealed(
    sealer: Sealer,
    uid: str,
    obj: Mapping[str, Any],
    base: Mapping[str, Any] | None = None,
    *,
    ephemeral: bool = False,
) -> Obj:
    """The Secret as stored. Keeps `base`'s blob when what is in it is the same, so that a no-op
    write stays one, and the blob whose key is lost where there are no values to put in its place:
    to label such a Secret must not take it from whoever restores the key. `ephemeral` (dry runs)
    keeps no key."""
    meta = dict(obj["metadata"])
    annotations = dict(meta.get("annotations") or {})
    applied = annotations.pop(LAST_APPLIED, None)
    if applied is not None:
        meta["annotations"] = annotations
        if not annotations:
            del meta["annotations"]
    made = {k: v for k, v in obj.items() if k not in _CLEAR} | {"metadata": meta}
    data = obj.get("data") or {}
    clear = orjson.dumps({"data": data, "lastApplied": applied}, option=orjson.OPT_SORT_KEYS)
    made["secretKeys"] = sorted(data)
    made["contentHmac"] = sealer.digest(orjson.dumps(data, option=orjson.OPT_SORT_KEYS))
    try:
        if base is not None and await _clear(sealer, uid, base) == clear:
            return made | {"sealed": base["sealed"]}
    except SecretLostError:
        if base is not None and not data:
            return made | {name: base[name] for name in _SEALED}
    blob = await sealer.seal(uid, clear, ephemeral=ephemeral)
    return made | {"sealed": base64.b64encode(blob).decode()}


def without_values(obj: Mapping[str, Any]) -> Obj:
    """What can be shown of a Secret whose key is lost."""
    return {key: value for key, value in obj.items() if key not in _SEALED}


async def opened(sealer: Sealer, obj: Mapping[str, Any]) -> Obj:
    """The Secret as written: the inverse of `sealed`. Raises SecretLostError,
    SecretsUnavailableError."""
    meta = dict(obj["metadata"])
    secret = orjson.loads(await _clear(sealer, meta["uid"], obj))
    if secret["lastApplied"] is not None:
        meta["annotations"] = {
            **(meta.get("annotations") or {}),
            LAST_APPLIED: secret["lastApplied"],
        }
    made = without_values(obj) | {"metadata": meta}
    if secret["data"]:
        made["data"] = secret["data"]
    return made


async def _clear(sealer: Sealer, uid: str, obj: Mapping[str, Any]) -> bytes:
    try:
        return await sealer.open(uid, base64.b64decode(obj["sealed"]))
    except SecretLostError as exc:
        meta = obj["metadata"]
        raise SecretLostError(
            f"cannot open Secret '{meta.get('namespace')}/{meta['name']}': its key is gone; "
            "restore the backup that has it (the Vault's, where keys are in one), set its values "
            "again, or delete it where it is made by a record of its own: that makes it anew"
        ) from exc
