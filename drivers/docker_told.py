"""What one event of the engine means: what it names, whose that is, what is known after. Pure."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from typing import Any

from drivers.containers import LABEL_CONTAINER, LABEL_INSTANCE, NetworkState, Owner
from drivers.docker_cache import Known
from drivers.docker_inspect import owner_of

Event = Mapping[str, Any]


def identity(event: Event) -> tuple[object, ...] | None:
    """What tells one event from all others; None where the engine doesn't say when it was."""
    actor = event.get("Actor") or {}
    container = (actor.get("Attributes") or {}).get("container", "")
    at = event.get("timeNano")
    if at is None:
        return None
    return at, event.get("Type"), event.get("Action"), actor.get("ID"), container


@dataclass(frozen=True, slots=True)
class Told:
    """What one event means: the thing it names, and whose it is."""

    thing: str
    owner: Owner
    what: str
    wakes: bool = True


def read_event(
    event: Event, known: Known, instance: str, starting: Set[str] = frozenset()
) -> Told | None:
    """None for what isn't ours. Learns from creations, forgets what is destroyed."""
    actor = event.get("Actor") or {}
    kind, action, thing = event.get("Type", ""), str(event.get("Action", "")), actor.get("ID", "")
    attributes: Mapping[str, str] = actor.get("Attributes") or {}
    if kind == "container":
        return _container_event(thing, action, attributes, known, instance)
    if kind == "network" and action in {"connect", "disconnect"}:
        container = attributes.get("container", "")
        # Part of a start of our own: looked at now, it would only be waited for until it ends.
        wakes = action == "disconnect" or container not in starting
        owner = known.owner_of(container)
        return _told("container", container, owner, f"network {action}", wakes=wakes)
    if action not in {"destroy", "remove"}:
        return None
    if kind == "network":
        name = attributes.get("name", "")
        return _told("network", name, known.networks.get(name), "network destroy")
    if kind == "volume":
        return _told("volume", thing, known.volumes.get(thing), "volume destroy")
    return None


def _told(
    kind: str, thing: str, owner: Owner | None, what: str, *, wakes: bool = True
) -> Told | None:
    return None if owner is None else Told(f"{kind}:{thing}", owner, what, wakes)


def joined_or_left(event: Event, network: NetworkState) -> NetworkState | None:
    """What is known of a network after an event about one of its name."""
    actor = event["Actor"]
    container = (actor.get("Attributes") or {}).get("container", "")
    action = event.get("Action")
    if actor.get("ID") != network.id or not container or action not in {"connect", "disconnect"}:
        return None
    inside = {*network.container_ids, container}
    if action == "disconnect":
        inside.discard(container)
    return replace(network, container_ids=tuple(sorted(inside)))


def _container_event(
    container: str, action: str, attributes: Mapping[str, str], known: Known, instance: str
) -> Told | None:
    owner = owner_of(attributes)
    if owner is None or attributes.get(LABEL_INSTANCE) != instance:
        return None
    if action == "destroy":
        known.drop(container)
    else:
        known.add(container, owner, attributes.get(LABEL_CONTAINER, ""))
    # Nobody but us makes containers with our labels: a creation tells the engine nothing. Nor does
    # a signal that was sent: what becomes of it is told next, and who looks before asks the dying.
    wakes = action not in {"create", "kill"}
    return Told(f"container:{container}", owner, f"container {action}", wakes=wakes)
