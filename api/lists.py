"""LIST and DELETE of collections: selectors, consistent paging, versions.

A page is cut from a snapshot taken by the first one (paging.py), so that all are of one revision.
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from aiohttp import web

from api import errors
from api.answers import answer_stored_list, listing_for
from api.body import read_object
from api.context import Call
from api.deleting import DeleteOptions
from api.list_options import check_list_options, limit_of
from api.paging import Snapshot
from api.reading import opened
from api.records import ATTEMPTS, await_version, parse_version
from api.routes import Handler
from api.selectors import Selector, of_query
from controlplane.errors import ConflictError, NotFoundError
from controlplane.records import Key, Stored
from controlplane.stretch import Stretch


@dataclass(frozen=True, slots=True)
class _Page:
    """One answer's part of a list."""

    items: Sequence[Stored]
    revision: int
    continue_token: str = ""
    remaining: int = 0


async def list_records(call: Call) -> web.StreamResponse:
    """All records of a kind, or those selected."""
    check_list_options(call)
    selector = of_query(call.query, call.target.served.info)
    page = await _page(call, selector)
    meta: dict[str, Any] = {"resourceVersion": str(page.revision)}
    if page.continue_token:
        meta["continue"] = page.continue_token
        if not selector:
            meta["remainingItemCount"] = page.remaining
    return await answer_stored_list(call, call.target.served, page.items, meta)


async def _page(call: Call, selector: Selector) -> _Page:
    limit = limit_of(call)
    call.ctx.snapshots.let_go(call.ctx.clock.monotonic())
    token = call.query.get("continue", "")
    if token:
        return _next_page(call, token, limit)
    await await_version(call)
    _check_exact(call)
    # no await between these two: the list is of exactly this revision
    revision = call.ctx.view.revision
    candidates = _candidates(call, selector)
    found = await selected(candidates, selector)
    if not limit or len(found) <= limit:
        return _Page(found, revision)
    until = call.ctx.clock.monotonic() + call.ctx.limits.continue_s
    snapshot = Snapshot(_question(call), revision, tuple(found), until, call.user.name)
    return _cut(call.ctx.snapshots.keep(snapshot), snapshot, 0, limit)


def _candidates(call: Call, selector: Selector) -> Sequence[Stored]:
    """The records there are now that a call may be about."""
    target = call.target
    kind, view = target.served.info.kind, call.ctx.view
    namespace = target.namespace
    if selector.name is not None and (namespace is not None or not target.served.info.namespaced):
        one = view.get(Key(kind, namespace or "", selector.name))
        return () if one is None else (one,)
    return view.list(kind, namespace)


async def selected(found: Sequence[Stored], selector: Selector) -> Sequence[Stored]:
    """Those of them that match; looks after other requests in between."""
    if not selector:
        return found
    kept, stretch = [], Stretch()
    for stored in found:
        if selector.matches_stored(stored):
            kept.append(stored)
        await stretch.worked_on(len(stored.body))
    return kept


def _check_exact(call: Call) -> None:
    """Older lists are not kept. Raises StatusError 410."""
    version = call.query.get("resourceVersion", "")
    if call.query.get("resourceVersionMatch") != "Exact":
        return
    if parse_version(version) < call.ctx.view.revision:
        raise errors.expired(
            f"The resourceVersion for the provided list is too old: {version}; list again"
        )


def _question(call: Call) -> tuple[str, ...]:
    target = call.target
    return (
        target.served.info.kind,
        target.namespace or "",
        call.query.get("labelSelector", ""),
        call.query.get("fieldSelector", ""),
    )


def _next_page(call: Call, token: str, limit: int) -> _Page:
    if call.query.get("resourceVersion", "") not in ("", "0"):
        raise errors.bad_request("resourceVersion is not allowed when using continue")
    identity, start = _parse(token)
    snapshot = call.ctx.snapshots.find(identity, call.ctx.clock.monotonic())
    if snapshot is None:
        raise errors.expired(
            "The provided continue parameter is too old to display a consistent list result. "
            "You must start a new list without the continue parameter."
        )
    if snapshot.question != _question(call) or start > len(snapshot.found):
        raise errors.bad_request("the continue token is of another list; start a new list")
    return _cut(identity, snapshot, start, limit)


def _cut(identity: str, snapshot: Snapshot, start: int, limit: int) -> _Page:
    end = start + limit if limit else len(snapshot.found)
    remaining = len(snapshot.found) - end
    if remaining <= 0:
        return _Page(snapshot.found[start:], snapshot.revision)
    token = base64.urlsafe_b64encode(orjson.dumps([identity, end])).decode().rstrip("=")
    return _Page(snapshot.found[start:end], snapshot.revision, token, remaining)


def _parse(token: str) -> tuple[str, int]:
    try:
        identity, start = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, ValueError, TypeError) as exc:
        raise errors.bad_request("the continue token is not valid; start a new list") from exc
    if not isinstance(identity, str) or not isinstance(start, int) or start < 0:
        raise errors.bad_request("the continue token is not valid; start a new list")
    return identity, start


async def delete_collection(call: Call) -> web.StreamResponse:
    """Delete every record selected that may be, or the first `limit` of them; answers with those
    it deleted or marked."""
    options = DeleteOptions(call, await read_object(call, optional=True))
    check_list_options(call)
    if call.query.get("continue"):
        raise errors.bad_request("a collection is deleted without a continue token")
    selector, limit = of_query(call.query, call.target.served.info), limit_of(call)
    await await_version(call)
    await call.ctx.records.catch_up(call.ctx.limits.catch_up_s)
    _check_exact(call)
    listing = listing_for(call, call.target.served)
    lasting = call.target.served.info.lasting
    matching = await selected(_candidates(call, selector), selector)
    found = [each for each in matching if each.key.name not in lasting]
    for stored in found[: limit or None]:
        async with call.ctx.turns.take(stored.key):
            shown = await _deleted(call, options, stored)
        if shown is not None:
            listing.add(shown)
    return listing.response({"resourceVersion": str(call.ctx.view.revision)})


async def _deleted(call: Call, options: DeleteOptions, stored: Stored) -> dict[str, Any] | None:
    """A record as it was or as what is left of it; None if another one deleted it meanwhile.
    Raises StatusError 409 if a precondition doesn't hold."""
    records, served = call.ctx.records, call.target.served
    latest: Stored | None = stored
    for _ in range(ATTEMPTS):
        if latest is None or latest.uid != stored.uid:
            return None
        options.check(served, latest)
        try:
            shown = await opened(call.ctx, latest)
            left = await options.carry_out(latest)
            return shown if left is None else await opened(call.ctx, left)
        except (ConflictError, NotFoundError):
            await records.catch_up(call.ctx.limits.catch_up_s)
            latest = call.ctx.view.get(stored.key)
    raise errors.conflict(served.info, stored.key.name)


HANDLERS: Final[dict[tuple[str, str], Handler]] = {
    ("list", ""): list_records,
    ("deletecollection", ""): delete_collection,
}
