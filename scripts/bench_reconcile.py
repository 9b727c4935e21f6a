"""No-op passes a second on one core, with fakes: records that are as they should be.

The whole path counts: queue, cache, parsing, observe, plan, report, conditions, metrics, log.
Beside it the least a pass could be: parse the record and compare its status. Also the CPU that
the records cost when nothing happens, from ten minutes of virtual time.
"""

import argparse
import logging
import os
import time
from pathlib import Path

import structlog
from bench_lib import beside, tell, within

from controlplane.engine.queue import Priority
from controlplane.engine.resolve import parse
from tests.support.bench import Bench
from tests.support.toys import MODELS
from tests.support.virtual import run

IDLE_S = 600.0


async def measure(records: int, rounds: int) -> None:
    bench = Bench()
    async with bench.running():
        await bench.namespace()
        await bench.settle()
        for i in range(records):
            await bench.box(f"b{i}", cpu="1m")
        await bench.settle(60)
        assert bench.term is not None
        writes = len(bench.store.writes)
        passes, bare = [], []
        for _ in range(rounds):
            began, looks = time.perf_counter(), bench.world.calls["observe"]
            await bench.term.wakes.everything(Priority.DRIFT)
            await bench.settle(0.5)
            took = time.perf_counter() - began
            passes.append((bench.world.calls["observe"] - looks) / took)
            bare.append(least(bench))
        began_cpu = time.process_time()
        await bench.settle(IDLE_S)
        idle = (time.process_time() - began_cpu) / IDLE_S
        wrote = len(bench.store.writes) - writes
    setup = f"{records:,} records at rest, fakes, one core; whole path of a pass"
    tell(
        [
            within("no-op passes", "passes/s", passes, 1000, better="more", setup=setup),
            beside(
                "no-op passes / parse and compare",
                "passes/s",
                passes,
                "parse and compare",
                bare,
                goal=0.0,
                better="more",
                setup=setup,
            ),
            within(
                "idle CPU of records at rest",
                "% core",
                [idle * 100],
                1.0,
                setup=f"{setup}; {IDLE_S:g} s of virtual time",
            ),
        ]
    )
    assert wrote == 0, f"{wrote} writes where nothing changed"


def least(bench: Bench) -> float:
    stored = bench.store.cache.list("Box")
    began = time.perf_counter()
    for each in stored:
        each.__dict__.pop("obj", None)
        record = parse(MODELS["Box"], each)
        assert record.metadata.generation == each.generation
    return len(stored) / (time.perf_counter() - began)


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--records", type=int, default=1000)
    given.add_argument("--rounds", type=int, default=5)
    options = given.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    with Path(os.devnull).open("w") as nowhere:
        structlog.configure(logger_factory=structlog.PrintLoggerFactory(nowhere))
        run(lambda: measure(options.records, options.rounds))


if __name__ == "__main__":
    main()
