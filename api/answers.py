"""Turns what a handler found into the representation the client asked for.

JSON always works. Tables and metadata-only representations are asked for by `Accept` parameters;
tables.py renders them. Errors are always a plain JSON Status.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson
from aiohttp import web

from api import errors, tables
from api.context import Call
from api.listing import Listing
from api.negotiate import As, representation
from api.reading import all_opened, shows_values
from api.served import Served
from api.splice import wire_bytes
from api.tables import Include
from controlplane.errors import SecretLostError
from controlplane.records import Stored
from controlplane.store.sealing import without_values
from controlplane.store.shape import decode
from controlplane.stretch import STRETCH_RECORDS, Stretch, stretches

JSON: Final = "application/json"
_PLAIN_RECORDS: Final = 10 * STRETCH_RECORDS
"""What is neither parsed nor rendered takes 1 us."""
_SEALED: Final = "Secret"
"""Its bytes in the store are ciphertext: opened for each answer."""


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


def check_answerable(call: Call) -> None:
    """Before anything is stored: what cannot be answered as asked for must not be done first.
    Raises StatusError 406 or 400."""
    if asked(call) is not As.OBJECT:
        include(call)


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
    try:
        shown = await call.ctx.records.read(stored)
    except SecretLostError as exc:
        call.warnings.append(str(exc))
        shown = without_values(decode(stored))
    return answer_object(call, shown, status=status)


async def answer_stored_list(
    call: Call, served: Served, found: Sequence[Stored], meta: Mapping[str, Any]
) -> web.Response:
    """A list of stored records, as asked for; looks after other requests in between."""
    listing = listing_for(call, served)
    if asked(call) is As.OBJECT and served.info.kind != _SEALED:
        async for some in stretches(found, _PLAIN_RECORDS):
            listing.add_wire(map(wire_bytes, some))
        return listing.response(meta)
    if shows_values(served.info.kind, asked(call), include(call)):
        async for shown in all_opened(call.ctx, found):
            listing.add(shown)
        return listing.response(meta)
    stretch = Stretch()
    for stored in found:
        listing.add(decode(stored))
        await stretch.worked_on(len(stored.body))
    return listing.response(meta)


def listing_for(call: Call, served: Served) -> Listing:
    """An empty list in the form that this client asked for. Raises StatusError 400, 406."""
    return Listing(call, served, asked(call), include(call))


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
