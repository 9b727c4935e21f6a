"""Servers for the PowerDNS driver: one container for all its tests, a zone for each."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.containers import Running, name_server
from tests.contract.powerdns.worlds import KEY, FakeWorld, RealWorld, World


@pytest.fixture(scope="package")
def server() -> Iterator[Running]:
    # it looks up ALIAS targets in its own zones: no other server is needed
    with name_server(KEY, "--env=PDNS_RESOLVER=127.0.0.1") as started:
        yield started


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.docker)])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    fake = request.param == "fake"
    found: World = FakeWorld() if fake else RealWorld(request.getfixturevalue("server"))
    yield found
    await found.driver.aclose()


@pytest.fixture
async def real(server: Running) -> AsyncIterator[RealWorld]:
    found = RealWorld(server)
    yield found
    await found.driver.aclose()
