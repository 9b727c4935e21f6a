"""Crash plans on a real engine: tests/sim/crash.py's method in real time.

A story is played once without faults and its calls are traced; then it is played again and cut at
one of them. World, records, and how often things were made and removed must be as they were, and
what was written into its servers must still be there.

One by hand: `python -m tests.integration.crashes.plans App-web-create 3 lost`; more pairs of a
call and a position are crashes of the same run, calls being counted on.
"""

import asyncio
import itertools
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from tests.integration.crashes.platform import LAST_S, POLL_S, DockerPlatform
from tests.integration.crashes.stories import STORIES
from tests.sim.crash import any_call, boundary
from tests.sim.stage import Look, Outcome, Stage
from tests.sim.story import Story, lead_up, restart
from tests.support.faults import Cut, Position, Site, Tracer
from tests.support.quiet import quiet

BERTHS: Final = 8
"""Plans that may run at once: each has subnets and ports of its own, so that all of them may take
the first one."""
SPLIT: Final = frozenset({"containers", "dns", "s3"})
"""Drivers whose verbs may make several requests: requests.py puts each request behind the seam."""
_berths: Final = list(range(BERTHS))
_numbers: Final = itertools.count()


def real_boundary(site: Site) -> bool:
    """As in simulation; but where one verb of the driver makes several requests, each of those.
    Between verb and request the world stands still."""
    requests = site.port not in SPLIT or site.verb == "exec_container"
    return boundary(site) and requests


@dataclass(frozen=True, slots=True)
class Played:
    """What became of one run."""

    outcome: Outcome
    trace: tuple[Site, ...]
    struck: tuple[Site, ...]
    problems: tuple[str, ...]
    took_s: float
    """From the act to its end."""


@asynccontextmanager
async def berth() -> AsyncIterator[DockerPlatform]:
    """A platform with a label, subnets and ports of its own; nothing of it is left."""
    place = _berths.pop()
    instance = f"plan-{os.getpid()}-{next(_numbers)}"
    # below those that the kernel gives to connections (ip_local_port_range), and below the pool's
    first = 21_000 + 40 * place
    platform = DockerPlatform(
        instance=instance,
        subnets=f"10.{160 + place}.0.0/16",
        ports=range(first, first + 40),
    )
    try:
        yield platform
    finally:
        await platform.destroy()
        _berths.append(place)


async def play(story: Story, cuts: tuple[Cut, ...] = (), wanted: Outcome | None = None) -> Played:
    """The story, cut there; until its end is the wanted one, or nothing happens any more."""
    # a restart changes nothing: all its calls are looks
    looks = story.act is restart
    tracer = Tracer(cuts=cuts, counts=any_call if looks else real_boundary)
    async with berth() as platform:
        look = platform.look
        stage = Stage(tracer, platform, Look(look.world, look.objects))
        async with stage.supervised():
            await lead_up(stage, story)
            stage.begin_tally()
            tracer.armed = True
            began_s = time.monotonic()
            await story.act(stage, story.key)
            outcome = await _ended(stage, wanted)
            took_s = time.monotonic() - began_s
            tracer.armed = False
            problems = [*stage.breaches, *platform.lost(), *look.served.wrong()]
        return Played(outcome, tuple(tracer.trace), tuple(tracer.struck), tuple(problems), took_s)


async def _ended(stage: Stage, wanted: Outcome | None) -> Outcome:
    end_s = time.monotonic() + LAST_S
    while True:
        await stage.platform.settle()
        found = stage.outcome()
        if wanted is None or found == wanted or time.monotonic() > end_s:
            return found
        await asyncio.sleep(POLL_S)


def problem(story: Story, cuts: tuple[Cut, ...], clean: Played, found: Played) -> str:
    """How its end differs from the clean run's; empty if it doesn't."""
    if found.outcome == clean.outcome and not found.problems:
        return ""
    where = ", then ".join(f"{cut.position} call {cut.at}" for cut in cuts)
    sites = ", ".join(map(str, found.struck))
    again = " ".join(f"{cut.at} {cut.position}" for cut in cuts)
    return "\n".join([
        f"{story}: crashed {where} ({sites})",
        *found.problems,
        clean.outcome.unlike(found.outcome),
        f"calls only of the clean run: {_calls(clean) - _calls(found)}",
        f"only of this one: {_calls(found) - _calls(clean)}",
        f"again: python -m tests.integration.crashes.plans {story} {again}",
    ])  # fmt: skip


def _calls(played: Played) -> Counter[str]:
    """How often each call was made, by words that two runs share."""
    return Counter(
        f"{site.port}.{site.verb} {site.what.partition(' ')[0]}" for site in played.trace
    )


def main(argv: list[str]) -> int:
    quiet()
    story = next(each for each in STORIES if str(each) == argv[0])
    clean = asyncio.run(play(story))
    for number, site in enumerate(clean.trace):
        print(f"{number:4} {site}")
    print(f"{clean.took_s:.1f} s", *clean.problems)
    pairs = zip(argv[1::2], argv[2::2], strict=True)
    positions: dict[str, Position] = {"before": "before", "lost": "lost", "after": "after"}
    cuts = tuple(Cut(int(at), positions[position]) for at, position in pairs)
    if not cuts:
        return 0
    found = asyncio.run(play(story, cuts, clean.outcome))
    told = problem(story, cuts, clean, found)
    print(told or f"the same end, in {found.took_s:.1f} s; struck {found.struck}")
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
