"""OpenAPI v3: an index, and one document per group version under a URL with its hash.

kubectl validates through it, explains with it, and keeps it on disk by hash. v2 is
openapi_v2.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from api import errors
from api.builtin import READ_ONLY, REVIEWS
from api.context import Call
from api.documents import Document, Once, document, respond
from api.groups import group_versions
from api.metaschema import SHARED
from api.operations import paths
from api.podschema import PARTS, TOLD
from api.published import outline, published, published_list, schema_name
from api.routes import Route
from api.served import Catalogue
from resources.meta import KindInfo

_INFO: Final = {"title": "Bunker Cloud", "version": "v1.32.0+bunker"}
_FOREVER: Final = {"Cache-Control": "public, immutable, max-age=31536000"}
"""A hash names the content: a client may keep it for as long as it likes."""


@dataclass(frozen=True, slots=True)
class _Published:
    """The v3 documents of a catalogue, by `api/v1` or `apis/GROUP/VERSION`."""

    index: Document
    groups: Mapping[str, Document]


def schemas(catalogue: Catalogue) -> dict[str, tuple[KindInfo, dict[str, Any]]]:
    """Every kind's component and its list's, by name."""
    found = {}
    for served in catalogue:
        found[schema_name(served.info)] = (served.info, published(served.info, served.schema))
    for info in (*READ_ONLY, *REVIEWS):
        found[schema_name(info)] = (info, published(info, _shown(info)))
    for info, _ in tuple(found.values()):
        if "list" in info.verbs:
            found[schema_name(info, "List")] = (info, published_list(info))
    return found


def _shown(info: KindInfo) -> dict[str, Any]:
    """The schema of a kind that has no model."""
    parts = PARTS.get(info.kind)
    if parts is None:
        return outline(info, ("spec", "status"))
    return {"type": "object", "description": TOLD[info.kind], "properties": {**parts}}


def v3_document(catalogue: Catalogue, group: str, version: str) -> dict[str, Any]:
    """The OpenAPI v3 document of one group version."""
    mine = {
        name: (info, schema)
        for name, (info, schema) in schemas(catalogue).items()
        if (info.group, info.version) == (group, version)
    }
    infos = dict.fromkeys(info for info, _ in mine.values())
    return {
        "openapi": "3.0.0",
        "info": _INFO,
        "paths": dict(pair for info in infos for pair in paths(info)),
        "components": {
            "schemas": {**SHARED, **{name: schema for name, (_, schema) in mine.items()}},
            "securitySchemes": {
                "BearerToken": {"type": "http", "scheme": "bearer", "description": "API token"}
            },
        },
        "security": [{"BearerToken": []}],
    }


def _made(catalogue: Catalogue) -> _Published:
    infos = [info for info, _ in schemas(catalogue).values()]
    found = {}
    for group, version in group_versions(infos):
        path = f"apis/{group}/{version}" if group else f"api/{version}"
        found[path] = document(v3_document(catalogue, group, version))
    index = {
        path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={doc.hash}"}
        for path, doc in found.items()
    }
    return _Published(document({"paths": index}), found)


_DOCUMENTS: Final = Once(_made)


async def _index(call: Call) -> web.StreamResponse:
    return respond(call.request, (await _DOCUMENTS.of(call.ctx.kinds)).index)


async def _group_document(call: Call, path: str) -> web.StreamResponse:
    found = (await _DOCUMENTS.of(call.ctx.kinds)).groups.get(path)
    if found is None:
        raise errors.no_such_path()
    asked = call.query.get("hash")
    if asked is None:
        return respond(call.request, found, {"Cache-Control": "no-cache, private"})
    if asked != found.hash:
        # another version of us wrote that index: send the client to what there is now
        return web.Response(
            status=301, headers={"Location": f"/openapi/v3/{path}?hash={found.hash}"}
        )
    return respond(call.request, found, _FOREVER)


async def _core(call: Call) -> web.StreamResponse:
    return await _group_document(call, f"api/{call.params['version']}")


async def _group(call: Call) -> web.StreamResponse:
    return await _group_document(call, f"apis/{call.params['group']}/{call.params['version']}")


ROUTES: Final = (
    Route("GET", "/openapi/v3", _index),
    Route("GET", "/openapi/v3/api/{version}", _core, resource="openapi"),
    Route("GET", "/openapi/v3/apis/{group}/{version}", _group, resource="openapi"),
)
