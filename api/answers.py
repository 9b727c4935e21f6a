"""Turns what a handler found into the representation the client asked for.

JSON always works. Tables and metadata-only representations are asked for by `Accept` parameters;
tables.py renders them. Errors are always a plain JSON Status.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson
from aiohttp import web

from api import errors
from api.context import Call
from api.negotiate import As, representation
from api.served import Served

JSON: Final = "application/json"


def asked(call: Call) -> As:
    """The representation this client asked for. Raises StatusError 406 if none can be served."""
    found = representation(call.request.headers.get("Accept"))
    if found is None:
        raise errors.not_acceptable((JSON,))
    return found


def answer_object(call: Call, obj: dict[str, Any], *, status: int = 200) -> web.Response:
    """One record, as asked for."""
    if asked(call) is As.PARTIAL:
        obj = partial(obj)
    return json_response(obj, status=status)


def answer_list(
    call: Call, served: Served, items: Sequence[dict[str, Any]], meta: Mapping[str, Any]
) -> web.Response:
    """A list of records, as asked for; `meta` is the list's own metadata."""
    info = served.info
    kind, api_version = f"{info.kind}List", info.api_version
    if asked(call) in (As.PARTIAL, As.PARTIAL_LIST):
        kind, api_version = "PartialObjectMetadataList", "meta.k8s.io/v1"
        items = [partial(item) for item in items]
    return json_response(
        {"kind": kind, "apiVersion": api_version, "metadata": dict(meta), "items": list(items)}
    )


def partial(obj: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata alone."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": obj["metadata"],
    }


def json_response(
    body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Any JSON document."""
    return web.Response(body=orjson.dumps(body), status=status, headers=headers, content_type=JSON)


def error_response(error: errors.StatusError) -> web.Response:
    return json_response(error.wire(), status=error.code, headers=error.headers)


def warning_headers(texts: Iterable[str]) -> Iterable[str]:
    """RFC 7234 Warning values; kubectl prints them as `Warning: text`."""
    for text in dict.fromkeys(texts):
        clean = text.replace("\\", "\\\\").replace('"', '\\"')
        clean = "".join(c if " " <= c <= "~" else " " for c in clean)
        yield f'299 - "{clean}"'
