"""The ways into a Pod: which container it is, and which part of its log a run has.

A Pod is named with its uid, and only what is on the board is reached: nobody's containers but this
installation's own. Who may is the API's to check.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from controlplane.clock import Clock
from controlplane.engine.board import Board
from controlplane.errors import ForbiddenError, NotFoundError
from controlplane.records import View
from controlplane.streams import Command, LogQuery, PodRef, Stream
from drivers.containers import Containers, ContainerState, Owner
from drivers.docker_http import EngineHttp
from drivers.docker_streams import DockerStreams
from drivers.streams import ContainerStreams, LogRange
from reconcilers.podboard import PodBoard
from resources.meta import PLATFORM_NAMESPACE

_SECOND_NS: Final = 1_000_000_000
_EARLY_NS: Final = 50_000_000
"""A process writes its first lines before the engine notes its start, and an earlier run's last
ones are read after its end was noted; between the two the engine waits 100 ms at least."""

CLOSED: Final = frozenset({"VpnNetwork", "Model"})
"""Kinds of tenants' records whose containers may do what no other of theirs may (NET_ADMIN, by
drivers/docker_body) or reach what no other may (the model server that all share, which asks for no
key): nobody runs commands of their own in there."""


@dataclass(frozen=True, slots=True)
class PodStreams:
    """Implements streams.Streams beside the engine."""

    pods: PodBoard
    engine: ContainerStreams

    async def open_logs(self, pod: PodRef, query: LogQuery, /) -> Stream:
        state = self.pods.container_of(pod)
        began, ended = _run(state, query)
        part = LogRange(
            follow=query.follow and not query.previous,
            tail="all" if query.tail is None else str(query.tail),
            since=_unix(max(began, query.since_ns or 0)),
            until=_unix(ended),
            timestamps=query.timestamps,
        )
        return await self.engine.logs(state.id, part)

    async def open_exec(self, pod: PodRef, command: Command, /) -> Stream:
        state = self._running(pod, "run a command")
        if (owner := state.owner) is not None and _is_closed(owner, state):
            raise ForbiddenError(
                f"cannot run a command: Pod '{pod.name}' is a {owner.kind}'s and has ways into the "
                "network that no other command may have; its record and its log tell what it does",
                reason="Closed",
            )
        return await self.engine.exec(state.id, command)

    async def open_attach(self, pod: PodRef, /, *, stdin: bool) -> Stream:
        return await self.engine.attach(self._running(pod, "attach").id, stdin=stdin)

    async def open_port(self, pod: PodRef, port: int, /) -> Stream:
        state = self._running(pod, "forward a port")
        address = next((a for a in state.networks.values() if a), "")
        if not address:
            raise ForbiddenError(
                f"cannot forward port {port}: Pod '{pod.name}' has no address", reason="NotRunning"
            )
        return await self.engine.connect(address, port)

    def _running(self, pod: PodRef, what: str) -> ContainerState:
        state = self.pods.container_of(pod)
        if not state.running or state.paused:
            how = "paused" if state.paused else "not running"
            raise ForbiddenError(
                f"cannot {what}: Pod '{pod.name}' is {how}; kubectl logs tells why it ended",
                reason="NotRunning",
            )
        return state


def pod_streams(
    containers: Containers, url: str, records: View, kinds: Iterable[str], clock: Clock
) -> PodStreams:
    """The board of one engine's Pods, and the ways into them."""
    board = PodBoard(containers, records, frozenset(kinds), clock, Board(clock))
    return PodStreams(board, DockerStreams(EngineHttp(url)))


def _is_closed(owner: Owner, state: ContainerState) -> bool:
    """Also whatever a tenant's record has in a second network."""
    elsewhere = owner.namespace != PLATFORM_NAMESPACE and len(state.networks) > 1
    return elsewhere or owner.kind in CLOSED


def _run(state: ContainerState, query: LogQuery) -> tuple[int, int]:
    """From when to when the log of one run goes, in Unix nanoseconds; 0: open. The engine keeps one
    log for all runs."""
    ended, began = _nanoseconds(state.finished_at), _nanoseconds(state.started_at)
    restarted = 0 < ended < began
    between = max(ended, began - _EARLY_NS)
    if not query.previous:
        return (between if restarted else 0), 0
    if not restarted:
        raise NotFoundError(f"previous terminated container of '{state.name}' not found")
    return 0, between


def _nanoseconds(text: str) -> int:
    """The engine's RFC 3339 with up to nine decimals as Unix nanoseconds; 0 for nothing."""
    if not text:
        return 0
    seconds = int(datetime.fromisoformat(text[:19]).replace(tzinfo=UTC).timestamp())
    return seconds * _SECOND_NS + int(text[20:].rstrip("Z").ljust(9, "0") or 0)


def _unix(nanoseconds: int) -> str:
    """As the engine takes times; "" for 0."""
    seconds, rest = divmod(nanoseconds, _SECOND_NS)
    return f"{seconds}.{rest:09d}" if nanoseconds else ""
