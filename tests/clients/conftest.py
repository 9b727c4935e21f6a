"""One API server for all clients, a process of its own as it is in life."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder with the kubeconfigs of a running server."""
    folder = tmp_path_factory.mktemp("api")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.api.server", str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert "serving on" in process.stdout.readline()
        yield folder
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
        process.stdout.close()
