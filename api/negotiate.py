"""Accept headers: which representation of an object or list a client asked for.

The first one we can serve wins, as in Kubernetes; parameters matter. Everything is JSON, so a
list that also names protobuf is answered in JSON. Not about request bodies.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

_JSON: Final = frozenset({"application/json", "application/*", "*/*"})
_META_GROUP: Final = "meta.k8s.io"
DISCOVERY_GROUP: Final = "apidiscovery.k8s.io"


class As(StrEnum):
    """How an object or a list is written out."""

    OBJECT = ""
    TABLE = "Table"
    PARTIAL = "PartialObjectMetadata"
    PARTIAL_LIST = "PartialObjectMetadataList"


_META_KINDS: Final = frozenset(As) - {As.OBJECT}


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One entry of an Accept header."""

    type: str
    group: str = ""
    version: str = ""
    as_: str = ""

    @property
    def json(self) -> bool:
        return self.type in _JSON


def media_ranges(accept: str | None) -> Iterator[MediaRange]:
    """The entries of an Accept header, in the client's order; absent or empty means `*/*`.

    `q=0` excludes an entry; other weights are not sorted by, since Kubernetes' clients order
    their lists instead (https://www.rfc-editor.org/rfc/rfc9110#section-12.5.1 allows both).
    """
    if accept is None or not accept.strip():
        yield MediaRange("*/*")
        return
    for entry in accept.split(","):
        name, *rest = (part.strip() for part in entry.split(";"))
        pairs = (part.partition("=") for part in rest)
        params = {key.strip().lower(): value.strip().strip('"') for key, _, value in pairs}
        if name and params.get("q") not in ("0", "0.0"):
            yield MediaRange(
                name.lower(), params.get("g", ""), params.get("v", ""), params.get("as", "")
            )


@lru_cache(maxsize=256)
def representation(accept: str | None) -> As | None:
    """What to answer with; None when nothing the client accepts can be served (406)."""
    for entry in media_ranges(accept):
        if not entry.json:
            continue
        if not entry.as_:
            return As.OBJECT
        if entry.as_ in _META_KINDS and entry.group == _META_GROUP and entry.version == "v1":
            return As(entry.as_)
    return None


def discovery_version(accept: str | None) -> str | None:
    """`v2` or `v2beta1` for aggregated discovery, "" for the legacy documents, None for 406."""
    for entry in media_ranges(accept):
        if not entry.json:
            continue
        if not entry.as_:
            return ""
        if (
            entry.as_ == "APIGroupDiscoveryList"
            and entry.group == DISCOVERY_GROUP
            and entry.version in ("v2", "v2beta1")
        ):
            return entry.version
    return None
