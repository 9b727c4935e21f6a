"""Answers /, /api, /apis and what is below them that isn't a record.

The client decides how to read the answer by its Content-Type, so that is exact: with plain
application/json, kubectl would see an aggregated document as an empty API.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from aiohttp import web

from api import errors, groups
from api.builtin import READ_ONLY, REVIEWS
from api.context import Call
from api.documents import Document, document, respond
from api.negotiate import discovery_version
from api.routes import Route
from api.served import Catalogue
from resources.meta import KindInfo

_MEDIA: Final = ("application/json",)


@dataclass(frozen=True, slots=True)
class _Documents:
    """Every discovery document of a catalogue."""

    core: Mapping[str, Document]
    """/api, by aggregated version; "" is the legacy document."""
    others: Mapping[str, Document]
    groups: Mapping[str, Document]
    versions: Mapping[str, Document]
    """By group/version, or `v1` for core."""
    root: Document


def all_kinds(catalogue: Catalogue) -> tuple[KindInfo, ...]:
    """Every resource there is: stored kinds, read-only ones, reviews."""
    return (*(served.info for served in catalogue), *READ_ONLY, *REVIEWS)


@lru_cache(maxsize=8)
def _documents(catalogue: Catalogue) -> _Documents:
    kinds = all_kinds(catalogue)
    pairs = groups.group_versions(kinds)
    named = [f"{group}/{version}" if group else version for group, version in pairs]
    return _Documents(
        core={
            "": groups.api_versions(),
            **{v: groups.aggregated(kinds, v, core=True) for v in ("v2", "v2beta1")},
        },
        others={
            "": groups.api_group_list(kinds),
            **{v: groups.aggregated(kinds, v, core=False) for v in ("v2", "v2beta1")},
        },
        groups={group: groups.api_group(group, version) for group, version in pairs if group},
        versions={
            name: groups.api_resource_list(kinds, *pair)
            for name, pair in zip(named, pairs, strict=True)
        },
        root=document({"paths": _paths(named)}),
    )


def _paths(named: list[str]) -> list[str]:
    found = {"/api", "/apis", "/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3"}
    found |= {"/readyz", "/version"}
    for name in named:
        if "/" in name:
            found |= {f"/apis/{name.split('/')[0]}", f"/apis/{name}"}
        else:
            found.add(f"/api/{name}")
    return sorted(found)


def _negotiated(call: Call, found: Mapping[str, Document]) -> web.StreamResponse:
    version = discovery_version(call.request.headers.get("Accept"))
    if version is None:
        raise errors.not_acceptable(_MEDIA)
    return respond(call.request, found[version])


async def _core(call: Call) -> web.StreamResponse:
    return _negotiated(call, _documents(call.ctx.kinds).core)


async def _others(call: Call) -> web.StreamResponse:
    return _negotiated(call, _documents(call.ctx.kinds).others)


async def _group(call: Call) -> web.StreamResponse:
    found = _documents(call.ctx.kinds).groups.get(call.params["group"])
    if found is None:
        raise errors.no_such_path()
    return respond(call.request, found)


async def _version(call: Call) -> web.StreamResponse:
    name = f"{call.params['group']}/{call.params['version']}"
    found = _documents(call.ctx.kinds).versions.get(name)
    if found is None:
        raise errors.no_such_path()
    return respond(call.request, found)


async def _core_version(call: Call) -> web.StreamResponse:
    return respond(call.request, _documents(call.ctx.kinds).versions["v1"])


async def _root(call: Call) -> web.StreamResponse:
    return respond(call.request, _documents(call.ctx.kinds).root)


ROUTES: Final = (
    Route("GET", "/", _root),
    Route("GET", "/api", _core),
    Route("GET", "/api/v1", _core_version),
    Route("GET", "/apis", _others),
    Route("GET", "/apis/{group}", _group, resource="apigroups"),
    Route("GET", "/apis/{group}/{version}", _version, resource="apiresources"),
)
