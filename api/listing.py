"""A list under way: encoded record by record, and sent in pieces where it is large.

Ten thousand rows of a Table made, encoded and encrypted in one go would hold up everybody else for
0.2 s. Who adds to it takes care of that (controlplane/stretch.py); what is added is bytes from
then on.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Final

import orjson
from aiohttp import web

from api import tables
from api.cells import Obj, cells
from api.context import Call
from api.negotiate import As
from api.served import Served
from api.tables import Include

_WHOLE_BYTES: Final = 2**20
"""Sent in one go: encrypting so many takes 1 ms."""


class Listing:
    """One answer's list, in the form that was asked for."""

    def __init__(self, call: Call, served: Served, form: As, include: Include) -> None:
        self._info = served.info
        self._row = cells(served.info)
        self._form = form
        self._include = include
        self._now = call.ctx.clock.now()
        self._entries: list[bytes] = []

    def add(self, obj: Obj) -> None:
        """One record more."""
        entry = tables.entry(self._form, self._row, obj, now=self._now, include=self._include)
        self._entries.append(orjson.dumps(entry))

    def add_wire(self, raw: Iterable[bytes]) -> None:
        """Records that are plain JSON already and asked for as that."""
        self._entries.extend(raw)

    def response(self, meta: Mapping[str, Any]) -> web.Response:
        """The answer; `meta` is the list's own metadata."""
        empty = tables.collection(
            self._form, self._info, (), metadata=dict(meta), now=self._now, include=self._include
        )
        head = orjson.dumps(empty).removesuffix(b"]}")
        size = len(head) + sum(map(len, self._entries)) + max(0, len(self._entries) - 1) + 2
        if size <= _WHOLE_BYTES:
            body = b"%b%b]}" % (head, b",".join(self._entries))
            return web.Response(body=body, content_type="application/json")
        return web.Response(
            body=_pieces(head, self._entries),
            headers={"Content-Length": str(size)},
            content_type="application/json",
        )


async def _pieces(head: bytes, entries: Sequence[bytes]) -> AsyncIterator[bytes]:
    """The same bytes, some of them at a time; others get their turn after each piece."""
    piece, size = [head], len(head)
    for number, entry in enumerate(entries):
        piece += (b",", entry) if number else (entry,)
        size += len(entry)
        if size >= _WHOLE_BYTES:
            yield b"".join(piece)
            await asyncio.sleep(0)
            piece, size = [], 0
    yield b"".join((*piece, b"]}"))
