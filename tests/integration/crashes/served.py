"""What the platform's servers hold, beside world.py, which looks at the engine. One that doesn't
answer holds what it held last."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from controlplane.records import Key
from drivers.containers import ContainerState
from tests.integration.crashes.buckets import buckets
from tests.integration.crashes.caches import cache
from tests.integration.crashes.holding import At, Holding
from tests.integration.crashes.mailboxes import mailboxes
from tests.integration.crashes.tunnels import tunnel
from tests.integration.crashes.zones import zones
from tests.sim.snapshot import opened
from tests.support.platform import Platform

ASK: Final[Mapping[str, Callable[[At], Holding]]] = {
    "dns": zones,
    "s3": buckets,
    "mail": mailboxes,
    "VpnNetwork": tunnel,
    "Database": cache,
}
"""How to ask: by the name that a service's record has, or by kind. Raises OSError."""


@dataclass(slots=True)
class Served:
    """The servers of one platform."""

    last: dict[str, Holding] = field(default_factory=dict)
    """As `ASK`, what each held when it last answered."""

    def look(self, platform: Platform, states: Iterable[ContainerState]) -> frozenset[str]:
        """Identities of all that they hold."""
        for name, at in servers(platform, states):
            with contextlib.suppress(OSError):
                self.last[name] = found = ASK[name](at)
                platform.aliases.update(found.aliases)
        return frozenset().union(*(each.things for each in self.last.values()))

    def wrong(self) -> list[str]:
        """What no run may come to, as of the last look."""
        return [f"{name}: {each.wrong}" for name, each in self.last.items() if each.wrong]

    def tree(self) -> Mapping[str, Any]:
        """All of it, as of the last look."""
        return {name: _tree(holding) for name, holding in self.last.items()}


def _tree(holding: Holding) -> Any:
    try:
        return holding.tree()
    except OSError as exc:
        return f"no answer: {exc}"


def servers(platform: Platform, states: Iterable[ContainerState]) -> Iterator[tuple[str, At]]:
    """(as in `ASK`, server) of those that run and can be asked."""
    for state in states:
        owner = state.owner
        name = "" if owner is None else owner.name if owner.kind == "Platform" else owner.kind
        address = next(filter(None, state.networks.values()), "")
        if owner is not None and name in ASK and state.running and address:
            secret = platform.find(Key("Secret", owner.namespace, f"{owner.name}-credentials"))
            yield name, At(state, address, opened(secret.obj) if secret else {})
