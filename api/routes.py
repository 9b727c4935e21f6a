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


class RouteTable:
    """Finds the Route of a method and path."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._exact: dict[str, dict[str, Route]] = defaultdict(dict)
        self._patterns: dict[int, list[tuple[tuple[str, ...], Route]]] = defaultdict(list)
        for route in routes:
            segments = split(route.path)
            if any(segment.startswith("{") for segment in segments):
                self._patterns[len(segments)].append((segments, route))
            else:
                self._exact["/".join(segments)][route.method] = route

    def find(self, path: str) -> Mapping[str, tuple[Route, Mapping[str, str]]]:
        """The routes of a path by method, with the values of their placeholders."""
        segments = split(path)
        exact = self._exact.get("/".join(segments))
        if exact is not None:
            return {method: (route, {}) for method, route in exact.items()}
        found: dict[str, tuple[Route, Mapping[str, str]]] = {}
        for pattern, route in self._patterns.get(len(segments), ()):
            params = _match(pattern, segments)
            if params is not None:
                found.setdefault(route.method, (route, params))
        return found


def split(path: str) -> tuple[str, ...]:
    """Path segments; empty ones (a trailing slash) do not count."""
    return tuple(segment for segment in path.split("/") if segment)


def _match(pattern: tuple[str, ...], segments: tuple[str, ...]) -> dict[str, str] | None:
    params = {}
    for want, have in zip(pattern, segments, strict=True):
        if want.startswith("{"):
            params[want.strip("{}")] = have
        elif want != have:
            return None
    return params
