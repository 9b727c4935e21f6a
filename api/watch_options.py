"""What a watch was asked for: where it starts, what it selects, how it is written. Pure.

The rules about sendInitialEvents are Kubernetes' own
(k8s.io/apimachinery/pkg/apis/meta/internalversion/validation): a server that ignored the
parameter would leave informers waiting for a bookmark for ever.
"""

import secrets
from dataclasses import dataclass
from typing import Final

from api.answers import asked, include
from api.context import Call
from api.list_options import forbidden, whole_number
from api.negotiate import As
from api.records import parse_version
from api.selectors import Selector, of_query
from api.tables import Include

_LEAST_S: Final = 1800
_SPREAD_S: Final = 1800
"""Watches without timeoutSeconds end after 30 to 60 min, so that clients spread over servers."""
_MATCH: Final = "resourceVersionMatch"


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """One watch, as asked for."""

    since: int | None
    """Changes after this revision; None starts with what there is."""
    fresh: bool
    """What there is must be as new as the store."""
    bookmarks: bool
    marks_initial: bool
    """A bookmark says where the initial events end."""
    lasts_s: float
    form: As
    include: Include
    selector: Selector


def watch_options(call: Call) -> WatchOptions:
    """Read them. Raises StatusError 400, 406 or 422."""
    version = call.query.get("resourceVersion", "")
    revision = parse_version(version) if version else 0
    initial = _initial_events(call)
    starts_with_all = initial if initial is not None else revision == 0
    bookmarks = call.flag("allowWatchBookmarks")
    return WatchOptions(
        # without a version and without what there is: from now on
        since=None if starts_with_all else revision or call.ctx.view.revision,
        fresh=not version,
        bookmarks=bookmarks,
        marks_initial=bool(initial) and bookmarks,
        lasts_s=_lasts_s(call),
        form=asked(call),
        include=include(call),
        selector=of_query(call.query, call.target.served.info),
    )


def _initial_events(call: Call) -> bool | None:
    match = call.query.get(_MATCH, "")
    if "sendInitialEvents" not in call.query:
        if match:
            raise forbidden(
                _MATCH, f"{_MATCH} is forbidden for watch unless sendInitialEvents is provided"
            )
        return None
    if match != "NotOlderThan":
        raise forbidden(_MATCH, "sendInitialEvents requires setting it to NotOlderThan")
    return call.flag("sendInitialEvents")


def _lasts_s(call: Call) -> float:
    asked_s = whole_number(call, "timeoutSeconds")
    return float(asked_s) or _LEAST_S + secrets.randbelow(_SPREAD_S)
