"""One suite for the real host and its fake."""

import os

import pytest

from drivers.fake.host import FakeHost
from drivers.host import HostMeter, LinuxHost


@pytest.fixture(params=["fake", "real"])
def meter(request: pytest.FixtureRequest) -> HostMeter:
    return FakeHost() if request.param == "fake" else LinuxHost()


async def test_capacity_is_whole_and_positive(meter: HostMeter) -> None:
    capacity = await meter.observe_host("/var/lib/docker")
    for amount in (capacity.cpu_millicores, capacity.memory_bytes, capacity.disk_bytes):
        assert isinstance(amount, int)
        assert amount > 0


async def test_what_is_available_is_at_most_what_there_is(meter: HostMeter) -> None:
    capacity = await meter.observe_host("/var/lib/docker")
    assert 0 <= capacity.disk_available_bytes <= capacity.disk_bytes


async def test_real_host_has_no_more_cores_than_the_machine() -> None:
    capacity = await LinuxHost().observe_host("/")
    assert capacity.cpu_millicores <= (os.cpu_count() or 0) * 1000
