"""How soon it is there: imports, and the first request served after exec with a warm store."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench_lib import tell, within

from tests.e2e.cloud import Cloud

IMPORT_LIMIT_S = 0.7
FIRST_LIMIT_S = 1.5
ROOT = Path(__file__).resolve().parent.parent


def run_s(code: str) -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    return time.monotonic() - began


def first_answer_s(cloud: Cloud) -> float:
    """From exec to the first list of records."""
    cloud.stop()
    began = time.monotonic()
    with cloud.log.open("ab") as log:
        cloud.process = subprocess.Popen(
            cloud.serving("all"), cwd=ROOT, env=cloud.env, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    while True:
        try:
            if cloud.call("GET", "/api/v1/namespaces").status == 200:
                return time.monotonic() - began
        except OSError:
            time.sleep(0.01)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    run_s("import controlplane.__main__")  # compiles what is not compiled yet
    imports = [run_s("import controlplane.__main__") - run_s("pass") for _ in range(options.rounds)]
    setup = "the composition root and all it needs, above an empty Python"
    tell([within("import time", "s", imports, IMPORT_LIMIT_S, better="less", setup=setup)])
    home = Path(tempfile.mkdtemp(prefix="bunker-bench-"))
    cloud = Cloud(home / "data", f"bench-{os.getpid()}")
    try:
        cloud.start()
        took = [first_answer_s(cloud) for _ in range(options.rounds)]
        setup = "API and agent in one process, its PostgreSQL runs already"
        tell([within("exec -> first answer", "s", took, FIRST_LIMIT_S, better="less", setup=setup)])
    finally:
        cloud.destroy()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
