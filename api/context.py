"""What every handler works with: the parts of the control plane, and one call's own facts.

Built once by the composition root. Handlers get a Call; nothing here is global.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from aiohttp import web
from prometheus_client import CollectorRegistry

from api.paging import Snapshots
from api.served import Catalogue, Served
from api.turns import Turns
from controlplane.access import Access, User
from controlplane.clock import Clock
from controlplane.records import Stored, View
from controlplane.streams import PodViews, Streams


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one API process. Times in seconds, sizes in bytes."""

    body_bytes: int = 1 << 20
    """Largest request body; bigger ones are answered 413. Kubernetes' own is 3 MiB, etcd's 1.5."""
    body_timeout_s: float = 15.0
    """A body must have arrived by then: half-open sockets hold nothing for long."""
    deadline_s: float = 30.0
    """Longest time any request but a watch or stream may take before a 503."""
    concurrency: int = 256
    """Requests worked on at once, watches and streams not counted; more are answered 429."""
    watches: int = 2000
    """Watches and streams open at once; more are answered 429."""
    write_s: float = 20.0
    """A watch, log or large answer whose socket takes nothing for so long is cut off: its reader is
    too slow or gone."""
    bookmark_s: float = 30.0
    """A watch that asked for bookmarks gets one after this long, or up to as long again: not all
    of a thousand at once."""
    ping_s: float = 30.0
    """A WebSocket's client that hasn't been heard of for so long is asked, and cut off half as much
    later. kubectl pings every 5 s itself."""
    catch_up_s: float = 5.0
    """How long a consistent read waits for the cache to reach the store before a 503."""
    continue_s: float = 300.0
    """How long a paging token is good for, as etcd's five minutes."""


class Actor(Protocol):
    """Who writes: an authenticated name and a field manager."""

    @property
    def name(self) -> str: ...
    @property
    def manager(self) -> str: ...


Propagation = Literal["Background", "Foreground", "Orphan"]


class Recording(Protocol):
    """The one write path (controlplane.store.records.Records), as the API uses it."""

    async def create(
        self,
        kind: str,
        obj: Mapping[str, Any],
        *,
        actor: Any,
        managed_fields: bytes | None = None,
        dry_run: bool = False,
    ) -> Stored: ...

    async def update(
        self,
        base: Stored,
        obj: Mapping[str, Any],
        *,
        actor: Any,
        subresource: str = "",
        managed_fields: bytes | None = None,
        dry_run: bool = False,
    ) -> Stored: ...

    async def delete(
        self,
        base: Stored,
        *,
        actor: Any,
        propagation: Propagation = "Background",
        dry_run: bool = False,
    ) -> Stored | None: ...

    async def read(self, stored: Stored) -> dict[str, Any]: ...

    async def catch_up(self, timeout_s: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Context:
    """The parts a handler may use."""

    records: Recording
    view: View
    access: Access
    kinds: Catalogue
    clock: Clock
    registry: CollectorRegistry
    limits: Limits = field(default_factory=Limits)
    ready: Sequence["Check"] = ()
    """What /readyz asks besides the store: (name, async callable that raises when not ready)."""
    pods: PodViews | None = None
    """The Pods there are; None without an agent."""
    streams: Streams | None = None
    """The ways into them."""
    snapshots: Snapshots = field(default_factory=Snapshots)
    """Paged lists under way."""
    turns: Turns = field(default_factory=Turns)
    """Writers of one record, in line."""


class Check(Protocol):
    """One named readiness check."""

    @property
    def name(self) -> str: ...

    async def __call__(self) -> None:
        """Raises when not ready; the message is shown with ?verbose."""
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """What a resource path names, and the verb asked of it."""

    served: Served
    verb: str
    """get, list, watch, create, update, patch, delete or deletecollection."""
    namespace: str | None
    """None: cluster-scoped, or every namespace."""
    name: str = ""
    """Empty for a collection."""
    subresource: str = ""


@dataclass(slots=True)
class Call:
    """One request, as far as it is understood."""

    ctx: Context
    request: web.Request
    user: User
    token: str = field(default="", repr=False)
    """Never shown: a traceback may be logged with what it holds."""
    params: Mapping[str, str] = field(default_factory=dict)
    """Values of a Route's placeholders."""
    resource: Target | None = None
    body_bytes: int = 0
    """Of the body, once it has been read."""
    warnings: list[str] = field(default_factory=list)
    """Sent as Warning headers with the answer."""

    @property
    def target(self) -> Target:
        """The resource this call is about; only on resource paths."""
        if self.resource is None:
            raise LookupError("not a resource path")
        return self.resource

    @property
    def query(self) -> Mapping[str, str]:
        """The first value of each query parameter."""
        return self.request.query

    def flag(self, name: str) -> bool:
        """A query boolean: any value but false and 0 is true (Python clients send `True`)."""
        value = self.request.query.get(name)
        return value is not None and value.lower() not in ("", "0", "false")

    async def alive(self) -> bool:
        """False once the token was revoked or has expired: streams must end then."""
        if not self.token:
            return True
        return await self.ctx.access.authenticate(self.token) is not None
