"""Pulls the cable of one container of a test's own: no packet reaches it, and no event tells."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from docker.models.containers import Container

from tests.containers import docker


@contextmanager
def cable_pulled(container: Container) -> Iterator[None]:
    """No packet reaches the container or leaves it, and no event tells."""
    number = int(docker("exec", container.id or "", "cat", "/sys/class/net/eth0/iflink"))
    (link,) = [
        place.name
        for place in Path("/sys/class/net").iterdir()
        if place.name.startswith("veth") and int((place / "ifindex").read_text()) == number
    ]
    _ip("link", "set", link, "down")
    try:
        yield
    finally:
        _ip("link", "set", link, "up")


def _ip(*args: str) -> None:
    subprocess.run(["ip", *args], check=True, capture_output=True)
