"""Worlds for the contract suites: each test gets one of its own, and it is removed afterwards."""

import ipaddress
import secrets
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from docker import APIClient

from tests.contract.busybox import ensure_busybox
from tests.contract.worlds import DockerWorld, FakeWorld, World


@pytest.fixture(scope="session")
def docker_client() -> Iterator[APIClient]:
    client = APIClient(base_url="unix:///var/run/docker.sock", version="auto")
    yield client
    client.close()


@pytest.fixture(scope="session")
def busybox(docker_client: APIClient) -> str:
    """A tiny image, made if it isn't there."""
    return ensure_busybox(docker_client)


def free_subnet(client: APIClient) -> str:
    """A /28 that no network of the engine overlaps."""
    used = [
        ipaddress.ip_network(config["Subnet"])
        for network in client.networks()
        for config in (network["IPAM"]["Config"] or ())
    ]
    while True:
        base = ipaddress.ip_address("10.232.0.0") + 16 * secrets.randbelow(1 << 14)
        subnet = ipaddress.ip_network(f"{base}/28")
        if not any(subnet.overlaps(other) for other in used if other.version == 4):
            return str(subnet)


@pytest.fixture(params=["fake", pytest.param("docker", marks=pytest.mark.docker)])
async def world(request: Any) -> AsyncIterator[World]:
    """The fake runtime, then a real one."""
    if request.param == "fake":
        made: World = FakeWorld()
    else:
        client = request.getfixturevalue("docker_client")
        made = DockerWorld(request.getfixturevalue("busybox"), free_subnet(client))
    try:
        yield made
    finally:
        await made.driver.aclose()
        made.close()
