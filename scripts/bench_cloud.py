"""A private installation for a benchmark, as the end-to-end tests have: nothing of it is left."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.cloud import Cloud


@contextmanager
def private_cloud(**env: str) -> Iterator[Cloud]:
    """Started and ready; `env` are settings of its own (CP_...)."""
    home = Path(tempfile.mkdtemp(prefix="bunker-bench-"))
    cloud = Cloud(home / "data", f"bench-{os.getpid()}", env)
    try:
        yield cloud.start()
    finally:
        cloud.destroy()
        shutil.rmtree(home, ignore_errors=True)
