"""What the containers of an App may have of the room that it holds. Pure.

After an edit it holds the larger of what it was and what it is to be, and is charged for no more.
Some of the old size beside some of the new may need more than either: so what gets less comes
first, and what gets more, and what is made anew, waits until it fits. In the end it does: once no
old one is left and none has more than it shall have, all of them fit.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Final

from controlplane.plan import Want
from drivers.containers import ContainerState, Limits
from reconcilers import _container as box
from resources.app import App
from resources.meta import Footprint

NOTHING: Final = Limits(0, 0)


@dataclass(frozen=True, slots=True)
class Room:
    """What is left of the held room, for containers of one size."""

    free: Footprint = field(default_factory=Footprint)
    """Below 0 where somebody gave a container more by hand."""
    each: Limits = NOTHING
    limits: Mapping[str, Limits] = field(default_factory=dict)
    """What those that can stay get for now, by id, in this order; `free` is what is left then."""

    def many(self, most: int, without: Iterable[ContainerState] = ()) -> int:
        """How many new ones fit, of `most`; in the place of those that go, too."""
        free = self.free + taken(self.each, without)
        size = _footprint(self.each)
        return next((many for many in range(most, 0, -1) if size.times(many).fits(free)), 0)

    def lacks(self, state: ContainerState) -> bool:
        """Whether it waits for the limits that it shall have."""
        return self.limits.get(state.id, self.each) != self.each


ENDLESS: Final = Room()
"""For what has no size: any number fits."""


def each_of(want: Want[App]) -> Limits:
    """The limits of a replica."""
    size = want.record.spec.resources
    return Limits(size.cpu, size.memory)


def taken(each: Limits, states: Iterable[ContainerState]) -> Footprint:
    """What they count for. One without limits, which somebody took, will get those of `each`."""
    return sum((_footprint(_counted(state.limits, each)) for state in states), Footprint())


def shared(
    want: Want[App], states: Iterable[ContainerState], staying: Set[str], strangers: Set[str]
) -> Room:
    """How the room is shared among `states`. Those in `staying` (by id) can have other limits; the
    `strangers` of these leave sooner or later, and keep what they have."""
    states = tuple(states)
    each = each_of(want)
    free = want.held.at_least(want.record.footprint) - taken(each, states)
    limits: dict[str, Limits] = {}
    for state in sorted(states, key=lambda state: _lowered(state.limits, each) != each):
        if state.id not in staying:
            continue
        has = _counted(state.limits, each)
        gets = has
        if state.id not in strangers:
            fits = (_footprint(each) - _footprint(has)).fits(free)
            gets = each if fits else _lowered(has, each)
        free += _footprint(has) - _footprint(gets)
        limits[state.id] = gets
    return Room(free, each, limits)


def in_use(
    want: Want[App],
    states: Iterable[ContainerState],
    kept: Sequence[ContainerState],
    *,
    exchanging: bool,
) -> Footprint:
    """What its containers hold; while some in `kept` stand in for others, with the room for those,
    too. Until an exchange is over nothing goes back that it may need: at some moment there may be
    few and small ones, and the next one needs the room. More than all the new ones beside what is
    there it never needs, and it may never end."""
    whole = box.held(*states)
    if kept:
        whole = whole.at_least(want.record.footprint + box.held(*kept))
    if not exchanging:
        return whole
    most = want.record.footprint + box.held(*states)
    return whole.at_least(want.held.at_most(most))


def _counted(limits: Limits, each: Limits) -> Limits:
    return Limits(
        limits.cpu_millicores or each.cpu_millicores,
        limits.memory_bytes or each.memory_bytes,
        each.pids,
    )


def _lowered(limits: Limits, each: Limits) -> Limits:
    """No more of anything than `each` has."""
    return Limits(
        min(limits.cpu_millicores, each.cpu_millicores),
        min(limits.memory_bytes, each.memory_bytes),
        each.pids,
    )


def _footprint(limits: Limits) -> Footprint:
    return Footprint(limits.cpu_millicores, limits.memory_bytes)
