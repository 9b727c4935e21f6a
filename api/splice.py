"""Wire bytes of a record from its stored body, without parsing it.

The store keeps bodies canonical, metadata first and never empty, so what is kept beside the body
goes in right after the opening of metadata. A Secret's body is ciphertext: not for this module.
"""

from typing import Final

import orjson

from controlplane.records import Stored
from controlplane.store.shape import decode

_HEAD: Final = b'{"metadata":{'


def wire_bytes(stored: Stored) -> bytes:
    """The record as clients see it: resourceVersion and managedFields spliced in."""
    body = stored.body
    if not body.startswith(_HEAD) or not stored.revision:
        return orjson.dumps(decode(stored))
    managed = stored.managed_fields
    owned = b"" if managed == b"[]" else b'"managedFields":%b,' % managed
    return b'%b%b"resourceVersion":"%d",%b' % (_HEAD, owned, stored.revision, body[len(_HEAD) :])
