"""Turns what a handler found into the representation the client asked for.

JSON always works. Tables and metadata-only representations are asked for by `Accept` parameters;
tables.py renders them. Errors are always a plain JSON Status.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson
from aiohttp import web

from api import errors, tables
from api.context import Call
from api.negotiate import As, representation
from api.reading import objects
from api.served import Served
from api.splice import wire_bytes
from api.tables import Include
from controlplane.records import Stored

JSON: Final = "application/json"
_SEALED: Final = "Secret"
"""Its bytes in the store are ciphertext: opened for each answer."""
_YIELD_EVERY: Final = 200
"""Records rendered between two looks at other requests: about 5 ms."""


def asked(call: Call) -> As:
    """The representation this client asked for. Raises StatusError 406 if none can be served."""
    found = representation(call.request.headers.get("Accept"))
    if found is None:
        raise errors.not_acceptable((JSON,))
    return found


def include(call: Call) -> Include:
    """What each row of a Table carries. Raises StatusError 400 for anything but the three."""
    match call.query.get("includeObject", ""):
        case "" | "Metadata":
            return "Metadata"
        case "Object":
            return "Object"
        case "None":
            return "None"
        case other:
            raise errors.bad_request(
                f"invalid includeObject {other!r}: write None, Metadata or Object"
            )


def answer_object(call: Call, obj: Mapping[str, Any], *, status: int = 200) -> web.Response:
    """One record, as asked for."""
    form, info, now = asked(call), call.target.served.info, call.ctx.clock.now()
    return json_response(
        tables.item(form, info, obj, now=now, include=include(call)), status=status
    )


async def answer_stored(call: Call, stored: Stored, *, status: int = 200) -> web.Response:
    """One stored record, as asked for: its own bytes where that is plain JSON."""
    if asked(call) is As.OBJECT and stored.key.kind != _SEALED:
        return web.Response(body=wire_bytes(stored), status=status, content_type=JSON)
    return answer_object(call, await call.ctx.records.read(stored), status=status)


async def answer_stored_list(
    call: Call, served: Served, found: Sequence[Stored], meta: Mapping[str, Any]
) -> web.Response:
    """A list of stored records, as asked for; looks after other requests in between."""
    if asked(call) is As.OBJECT and served.info.kind != _SEALED:
        return await _plain_list(served, found, meta)
    items = await objects(call.ctx, found, asked(call), include(call))
    return answer_list(call, served, items, meta)


async def _plain_list(
    served: Served, found: Sequence[Stored], meta: Mapping[str, Any]
) -> web.Response:
    info, items = served.info, []
    for index, stored in enumerate(found, start=1):
        items.append(wire_bytes(stored))
        if index % (_YIELD_EVERY * 10) == 0:
            await asyncio.sleep(0)
    body = b'{"kind":"%bList","apiVersion":"%b","metadata":%b,"items":[%b]}' % (
        info.kind.encode(),
        info.api_version.encode(),
        orjson.dumps(dict(meta)),
        b",".join(items),
    )
    return web.Response(body=body, content_type=JSON)


def answer_list(
    call: Call, served: Served, items: Sequence[Mapping[str, Any]], meta: Mapping[str, Any]
) -> web.Response:
    """A list of records, as asked for; `meta` is the list's own metadata."""
    form, now = asked(call), call.ctx.clock.now()
    return json_response(
        tables.collection(form, served.info, items, metadata=meta, now=now, include=include(call))
    )


def json_response(
    body: Any,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    indent: bool = False,
) -> web.Response:
    """Any JSON document; indented where people read it as it is."""
    raw = orjson.dumps(body, option=orjson.OPT_INDENT_2 if indent else None)
    return web.Response(body=raw, status=status, headers=headers, content_type=JSON)


def error_response(error: errors.StatusError) -> web.Response:
    return json_response(error.wire(), status=error.code, headers=error.headers)


def warning_headers(texts: Iterable[str]) -> Iterable[str]:
    """RFC 7234 Warning values; kubectl prints them as `Warning: text`."""
    for text in dict.fromkeys(texts):
        clean = text.replace("\\", "\\\\").replace('"', '\\"')
        clean = "".join(c if " " <= c <= "~" else " " for c in clean)
        yield f'299 - "{clean}"'
