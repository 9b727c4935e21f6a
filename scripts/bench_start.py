"""How soon it is there: imports, and the first request served after exec with a warm store.

All is compiled beforehand, as scripts/bootstrap and the image leave it: else each start would
compile it anew under PYTHONDONTWRITEBYTECODE. CPU is told too, as it depends less on neighbours.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench_lib import Row, tell, within
from bench_process import cpu_s

from tests.e2e.cloud import Cloud

IMPORTS = (
    "from controlplane.__main__ import agent_maker, collect_garbage\n"
    "agent_maker('all')\n"
    "collect_garbage()\n"
)
"""As `serve` does: without the last line, a Python that ends looks through all it imported."""
IMPORT_LIMIT_S = 0.7
FIRST_LIMIT_S = 1.5
ROOT = Path(__file__).resolve().parent.parent


def run_s(code: str, env: dict[str, str]) -> tuple[float, float]:
    """What running the code took: by the clock, and of CPU."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, **env}, check=True)
    took, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return took, sum(after[:2]) - sum(before[:2])


def starts(cloud: Cloud) -> tuple[float, float, float]:
    """Seconds from exec to the first list of records, the CPU until then, seconds until ready."""
    cloud.stop()
    began = time.monotonic()
    with cloud.log.open("ab") as log:
        cloud.process = subprocess.Popen(
            cloud.serving("all"), cwd=ROOT, env=cloud.env, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    answers(cloud, "/api/v1/namespaces")
    first, cpu = time.monotonic() - began, cpu_s([cloud.process.pid])
    answers(cloud, "/readyz")
    return first, cpu, time.monotonic() - began


def answers(cloud: Cloud, path: str) -> None:
    """Until it does, with 200."""
    while True:
        try:
            if cloud.call("GET", path).status == 200:
                return
        except OSError:
            pass
        time.sleep(0.01)


def imports(rounds: int, env: dict[str, str]) -> Row:
    run_s(IMPORTS, env)
    pairs = [(run_s(IMPORTS, env), run_s("pass", env)) for _ in range(rounds)]
    took, cpu = ([ours[n] - empty[n] for ours, empty in pairs] for n in (0, 1))
    setup = f"the composition root and all it needs, above an empty Python; {cpu_told(cpu)}"
    return within("import time", "s", took, IMPORT_LIMIT_S, setup=setup)


def first_answers(rounds: int, cloud: Cloud) -> Row:
    took, cpu, ready = zip(*(starts(cloud) for _ in range(rounds)), strict=True)
    setup = (
        f"API and agent in one process, its PostgreSQL runs already; {cpu_told(cpu)}; "
        f"ready after {statistics.median(ready):.2f} s"
    )
    return within("exec -> first answer", "s", took, FIRST_LIMIT_S, setup=setup)


def cpu_told(cpu: Sequence[float]) -> str:
    return f"CPU {statistics.median(cpu):.2f} s ({min(cpu):.2f}..{max(cpu):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="bunker-bench-"))
    env = {"PYTHONPYCACHEPREFIX": str(home / "compiled"), "PYTHONDONTWRITEBYTECODE": ""}
    cloud = Cloud(home / "data", f"bench-{os.getpid()}", env)
    try:
        tell([imports(options.rounds, env)])
        cloud.start()
        tell([first_answers(options.rounds, cloud)])
    finally:
        cloud.destroy()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
