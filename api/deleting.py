"""DELETE of one record, and the DeleteOptions that a collection is deleted by, too.

Options that can't be read refuse the delete: what was meant to hold it back must not be lost.
"""

from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from api import errors
from api.answers import answer_stored, check_answerable, json_response
from api.body import read_object
from api.context import Call, Propagation
from api.options import dry_run, not_supported, refused, write_options
from api.records import ATTEMPTS, current, key_of, parse_version
from api.routes import Handler
from api.served import Served
from controlplane.errors import ConflictError, NotFoundError
from controlplane.records import Stored


async def delete(call: Call) -> web.StreamResponse:
    """Delete a record: at once, or mark it while finalizers hold it."""
    options = DeleteOptions(call, await read_object(call, optional=True))
    async with call.ctx.turns.take(key_of(call)):
        return await _delete(call, options)


async def _delete(call: Call, options: "DeleteOptions") -> web.StreamResponse:
    check_answerable(call)
    served, name = call.target.served, call.target.name
    for _ in range(ATTEMPTS):
        stored = await current(call)
        options.check(served, stored)
        try:
            left = await options.carry_out(stored)
        except (ConflictError, NotFoundError) as exc:
            if options.revision is not None:
                raise errors.conflict(served.info, name) from exc
            continue
        if left is not None:
            return await answer_stored(call, left)
        return json_response(errors.success(errors.object_details(served.info, name, stored.uid)))
    raise errors.conflict(served.info, name)


class DeleteOptions:
    """DeleteOptions of the body, else of the query. Raises StatusError 400 or 422."""

    def __init__(self, call: Call, body: Mapping[str, Any]) -> None:
        self._call = call
        if (kind := body.get("kind") or "DeleteOptions") != "DeleteOptions":
            raise errors.bad_request(f"the body of a delete is DeleteOptions, not {kind!r:.64}")
        self._actor = write_options(call).actor
        asked = body.get("dryRun")
        if asked is None:
            asked = call.request.query.getall("dryRun", [])
        self.dry_run = dry_run(call, asked if isinstance(asked, list) else [asked])
        self._propagation = _propagation(call, body)
        _given(body, "gracePeriodSeconds", int)
        if not call.query.get("gracePeriodSeconds", "0").lstrip("+-").isdecimal():
            raise errors.bad_request("gracePeriodSeconds must be a whole number")
        conditions = _given(body, "preconditions", dict) or {}
        self.uid = _given(conditions, "uid", str)
        version = _given(conditions, "resourceVersion", str)
        self.revision = None if version is None else parse_version(version)

    def check(self, served: Served, stored: Stored) -> None:
        """Raises StatusError 403 for what has to stay, 409 if a precondition doesn't hold."""
        name = stored.key.name
        if name in served.info.lasting:
            why = f"this {served.info.singular} may not be deleted; edit it instead"
            raise errors.forbidden(served.info, name, why)
        if self.uid is not None and self.uid != stored.uid:
            raise errors.conflict(
                served.info,
                name,
                f"Precondition failed: UID in precondition: {self.uid}, UID in object meta: "
                f"{stored.uid}",
            )
        if self.revision is not None and self.revision != stored.revision:
            raise errors.conflict(
                served.info,
                name,
                f"Precondition failed: resourceVersion in precondition: {self.revision}, "
                f"resourceVersion in object meta: {stored.revision}",
            )

    async def carry_out(self, stored: Stored) -> Stored | None:
        """Delete one record; what is left of it while finalizers hold it."""
        return await self._call.ctx.records.delete(
            stored, actor=self._actor, propagation=self._propagation, dry_run=self.dry_run
        )


_NAMES: Final = {dict: "an object", str: "text", int: "a whole number", bool: "true or false"}


def _given(options: Mapping[str, Any], name: str, type_: type) -> Any:
    """One option; null is none. Raises StatusError 400."""
    value = options.get(name)
    if value is not None and type(value) is not type_:
        raise errors.bad_request(f"{name} in DeleteOptions must be {_NAMES[type_]}")
    return value


def _propagation(call: Call, body: Mapping[str, Any]) -> Propagation:
    given = body.get("propagationPolicy") or call.query.get("propagationPolicy")
    orphan = _orphans(call, body)
    if given and orphan is not None:
        told = "Invalid value: orphanDependents and propagationPolicy cannot be both set"
        raise refused(call, "propagationPolicy", "FieldValueInvalid", told)
    match given or ("Orphan" if orphan else "Background"):
        case "Background" | "Foreground" | "Orphan" as policy:
            return policy
        case other:
            raise not_supported(
                call, "propagationPolicy", other, "Background", "Foreground", "Orphan"
            )


def _orphans(call: Call, body: Mapping[str, Any]) -> bool | None:
    """Whether owned records are to stay; None: nothing is said. What the body says of that, in
    either way, counts before the query. Raises StatusError 400."""
    orphan: bool | None = _given(body, "orphanDependents", bool)
    asked = call.query.get("orphanDependents")
    if orphan is not None or asked is None or body.get("propagationPolicy"):
        return orphan
    if asked.lower() not in ("true", "false", "1", "0"):
        raise errors.bad_request("orphanDependents must be true or false")
    return call.flag("orphanDependents")


HANDLERS: Final[dict[tuple[str, str], Handler]] = {("delete", ""): delete}
