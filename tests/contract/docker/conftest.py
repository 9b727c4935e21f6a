"""A real engine with nothing of the test on it, for what only the Docker driver must do."""

from collections.abc import AsyncIterator

import pytest
from docker import APIClient

from tests.contract.conftest import free_subnet
from tests.contract.worlds import DockerWorld


@pytest.fixture
async def world(docker_client: APIClient, busybox: str) -> AsyncIterator[DockerWorld]:
    made = DockerWorld(busybox, free_subnet(docker_client))
    try:
        yield made
    finally:
        await made.driver.aclose()
        made.close()
