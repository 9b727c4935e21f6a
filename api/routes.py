"""The table of paths that are not records, and how a path finds its handler.

Record paths are not listed here: target.py reads them generically. To serve something else, put
Routes into a module and add it to ALL in app.py.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

from aiohttp import web

from api.context import Call

Handler = Callable[[Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """One path. `{name}` stands for one whole segment, found in Call.params."""

    method: str
    path: str
    handler: Handler
    public: bool = False
    """Answered without a token."""
    streams: bool = False
    """No deadline, and counted as a watch: the handler bounds itself and watches Call.alive."""
    watches: bool = False
    """Streams in that sense when asked with ?watch."""
    resource: str = ""
    """Resource label of the metrics; empty for paths that are no resources."""


Fixed = tuple[int, ...]
"""Which segments of a pattern are no placeholders."""


class RouteTable:
    """Finds the Route of a method and path, by the segments that are fixed in it. Of two that fit
    the same, none comes first: there must be no such two."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._exact: dict[str, dict[str, Route]] = defaultdict(dict)
        self._patterns: dict[int, dict[Fixed, dict[tuple[str, ...], list[Route]]]] = {}
        for route in routes:
            segments = split(route.path)
            fixed = tuple(i for i, segment in enumerate(segments) if not _holds_a_place(segment))
            if len(fixed) == len(segments):
                self._exact["/".join(segments)][route.method] = route
            else:
                alike = self._patterns.setdefault(len(segments), {}).setdefault(fixed, {})
                alike.setdefault(tuple(segments[i] for i in fixed), []).append(route)

    def find(self, path: str) -> Mapping[str, tuple[Route, Mapping[str, str]]]:
        """The routes of a path by method, with the values of their placeholders."""
        segments = split(path)
        exact = self._exact.get("/".join(segments))
        if exact is not None:
            return {method: (route, {}) for method, route in exact.items()}
        found: dict[str, tuple[Route, Mapping[str, str]]] = {}
        for fixed, routes in self._patterns.get(len(segments), {}).items():
            for route in routes.get(tuple([segments[i] for i in fixed]), ()):
                found.setdefault(route.method, (route, _params(route, segments)))
        return found


def split(path: str) -> tuple[str, ...]:
    """Path segments; empty ones (a trailing slash) do not count."""
    return tuple(segment for segment in path.split("/") if segment)


def _holds_a_place(segment: str) -> bool:
    return segment.startswith("{")


def _params(route: Route, segments: tuple[str, ...]) -> dict[str, str]:
    wanted = zip(split(route.path), segments, strict=True)
    return {want.strip("{}"): have for want, have in wanted if _holds_a_place(want)}
