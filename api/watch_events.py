"""What a change means to one watch, and its bytes.

A selector sees a record before and after: what starts to match is ADDED, what stops is DELETED,
whatever happened to the record. Bytes are made once per representation and kept on the change,
so that a thousand watchers of one event cost one encoding; Secrets are opened for one watcher
at a time and kept nowhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import orjson

from api import tables
from api.context import Context
from api.negotiate import As
from api.reading import opened, shows_values
from api.selectors import Selector, labels_of
from api.splice import wire_bytes
from api.tables import Include
from controlplane.records import Change, Stored
from controlplane.store.shape import decode
from resources.meta import KindInfo

EventType = Literal["ADDED", "MODIFIED", "DELETED"]
INITIAL_EVENTS_END: Final = "k8s.io/initial-events-end"


def transition(
    change: Change, selector: Selector, namespace: str | None
) -> tuple[EventType, Stored] | None:
    """The event this change is to a watch, and the state to show; None if it is none."""
    after, before = change.after, change.before
    if namespace is not None and after.key.namespace != namespace:
        return None
    if not selector:
        return _TYPES[change.verb], after
    had = before is not None and _matches(selector, change, before)
    if change.verb == "delete":
        return (
            ("DELETED", after)
            if had or (before is None and _matches(selector, change, after))
            else None
        )
    has = _matches(selector, change, after)
    if has:
        return ("MODIFIED" if had else "ADDED"), after
    if had and before is not None:
        return "DELETED", replace(before, revision=change.revision)
    return None


def _matches(selector: Selector, change: Change, stored: Stored) -> bool:
    """Labels, which most watches select by, are parsed once for all watchers of a change."""
    if selector.fields:
        return selector.matches_stored(stored)
    key = "labels before" if stored is change.before else "labels"
    labels = change.memo.get(key)
    if labels is None:
        labels = change.memo[key] = labels_of(orjson.loads(stored.body))
    return selector.matches_labels(labels)


_TYPES: Final[dict[str, EventType]] = {
    "create": "ADDED",
    "update": "MODIFIED",
    "delete": "DELETED",
}


@dataclass(slots=True)
class Encoder:
    """Writes one watch's events in the representation it asked for."""

    ctx: Context
    info: KindInfo
    form: As
    include: Include
    _defined: bool = False
    """Table columns have been sent: only the first event carries them."""

    async def event(self, type_: str, stored: Stored, change: Change | None = None) -> bytes:
        """One line of the stream. Raises SecretsUnavailableError."""
        return _line(type_, await self._object(stored, change))

    async def _object(self, stored: Stored, change: Change | None) -> bytes:
        if self.form is As.TABLE:
            return orjson.dumps(await self._table(stored))
        whole = self.form is As.OBJECT
        if shows_values(self.info.kind, self.form, self.include):
            return orjson.dumps(await opened(self.ctx, stored))
        key = f"{self.form}{'' if change is None or stored is change.after else ' left'}"
        kept: bytes | None = None if change is None else change.memo.get(key)
        if kept is not None:
            return kept
        made = wire_bytes(stored) if whole else orjson.dumps(tables.partial(decode(stored)))
        if change is not None:
            change.memo[key] = made
        return made

    async def _table(self, stored: Stored) -> dict[str, Any]:
        opens = shows_values(self.info.kind, self.form, self.include)
        obj = await opened(self.ctx, stored) if opens else decode(stored)
        define, self._defined = not self._defined, True
        return tables.table(
            self.info,
            [obj],
            metadata={"resourceVersion": str(stored.revision)},
            now=self.ctx.clock.now(),
            include=self.include,
            define=define,
        )

    def bookmark(self, revision: int, *, ends_initial: bool = False) -> bytes:
        """A bookmark line: everything up to `revision` has been sent."""
        meta: dict[str, Any] = {"resourceVersion": str(revision), "creationTimestamp": None}
        if ends_initial:
            meta["annotations"] = {INITIAL_EVENTS_END: "true"}
        obj: Any = {
            "kind": self.info.kind,
            "apiVersion": self.info.api_version,
            "metadata": meta,
        }
        if self.form is As.TABLE:
            self._defined = True
            obj = tables.bookmark(self.info, obj)
        elif self.form is not As.OBJECT:
            obj = tables.partial(obj)
        return _line("BOOKMARK", orjson.dumps(obj))


def line(type_: str, obj: Mapping[str, Any]) -> bytes:
    """One line of a stream: ERROR with a Status, or an object that is no record."""
    return _line(type_, orjson.dumps(obj))


def _line(type_: str, obj: bytes) -> bytes:
    return b'{"type":"%b","object":%b}\n' % (type_.encode(), obj)
