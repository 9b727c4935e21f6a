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
from api.negotiate import As, representation
from api.served import Served
from api.tables import Include

JSON: Final = "application/json"


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
