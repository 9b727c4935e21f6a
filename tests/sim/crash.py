"""Crash plans: a story's boundaries are found by tracing a clean run, then it is run again and cut
at each of them. What it comes to must be what the clean run came to, made and removed as often.

One plan by hand: `python -m tests.sim.crash App-create 7 lost`.
"""

import sys
from dataclasses import dataclass

from tests.sim.stage import LATE_S, SOON_S, Outcome, Stage
from tests.sim.story import Story, lead_up, stories
from tests.sim.worlds import WORLDS
from tests.support.faults import Cut, Position, Site, Tracer
from tests.support.quiet import quiet
from tests.support.virtual import run


@dataclass(frozen=True, slots=True)
class Clean:
    """A story without faults: what it comes to, and the calls it makes."""

    outcome: Outcome
    trace: tuple[Site, ...]


def boundary(site: Site) -> bool:
    """Calls that change something: between two of them the world stands still, so that a crash
    at a look is a crash after the change before it. Events are told twice and nobody minds."""
    return site.changes and site.what != "Event" and not site.verb.startswith("Event")


def any_call(site: Site) -> bool:
    return site.what != "Event"


def _tracer(story: Story, cuts: tuple[Cut, ...], *, looks: bool) -> Tracer:
    # a restart changes nothing: all its calls are looks
    return Tracer(cuts=cuts, counts=any_call if looks or story.name == "restart" else boundary)


def clean(story: Story, *, looks: bool = False) -> Clean:
    tracer = _tracer(story, (), looks=looks)
    outcome = run(lambda: _play(story, tracer, None))
    return Clean(outcome, tuple(tracer.trace))


def crashed(story: Story, cuts: tuple[Cut, ...], wanted: Outcome, *, looks: bool = False) -> str:
    """How the end differs from the clean run's; empty if it doesn't."""
    tracer = _tracer(story, cuts, looks=looks)
    found = run(lambda: _play(story, tracer, wanted))
    if found == wanted:
        return ""
    where = ", then ".join(f"{cut.position} call {cut.at}" for cut in cuts)
    sites = ", ".join(map(str, tracer.struck))
    again = " ".join(f"{cut.at} {cut.position}" for cut in cuts)
    return (
        f"{story}: crashed {where} ({sites})\n{wanted.unlike(found)}\n"
        f"again: python -m tests.sim.crash {story} {again}"
    )


async def _play(story: Story, tracer: Tracer, wanted: Outcome | None) -> Outcome:
    stage = Stage(tracer)
    async with stage.supervised():
        await lead_up(stage, story)
        stage.begin_tally()
        tracer.armed = True
        await story.act(stage, story.key)
        await stage.platform.settle(SOON_S)
        found = stage.outcome()
        if wanted is not None and found != wanted:
            # perhaps only a resync or the sweep finds it
            await stage.platform.settle(LATE_S)
            found = stage.outcome()
        tracer.armed = False
    assert stage.breaches == [], "\n".join(stage.breaches)
    return found


def named(name: str) -> Story:
    every = (story for kind in WORLDS for story in stories(kind, edits=99))
    return next(story for story in every if str(story) == name)


def main(argv: list[str]) -> int:
    quiet()
    story = named(argv[0])
    looks = "--looks" in argv
    rest = [word for word in argv[1:] if word != "--looks"]
    found = clean(story, looks=looks)
    for number, site in enumerate(found.trace):
        print(f"{number:4} {site}")
    pairs = zip(rest[::2], rest[1::2], strict=True)
    positions: dict[str, Position] = {"before": "before", "lost": "lost", "after": "after"}
    cuts = tuple(Cut(int(at), positions[position]) for at, position in pairs)
    problem = crashed(story, cuts, found.outcome, looks=looks)
    print(problem or "the same end")
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
