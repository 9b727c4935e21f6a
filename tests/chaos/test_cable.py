"""A server that no packet reaches, under load: it is said to be away, and well again by itself."""

import time

import pytest

from tests.chaos.cable import cable_pulled
from tests.chaos.load import CHAOS, NS, WITHIN_S, healed, recovered, told, under_load
from tests.e2e.cloud import Cloud, eventually

pytestmark = CHAOS


@pytest.mark.parametrize(("kind", "name"), [("database", "cache"), ("app", "web")])
def test_server_that_no_packet_reaches(private_cloud: Cloud, kind: str, name: str) -> None:
    """It is said to be away, and not replaced: its data may be the only copy."""
    cloud = private_cloud
    with under_load(cloud), cloud.engine() as engine:
        (container,) = cloud.containers(name, NS, engine=engine)
        with cable_pulled(container):
            began_s = time.monotonic()
            eventually(
                lambda: cloud.is_ready(kind, name, NS) is None,
                within_s=WITHIN_S,
                what=f"{name} is said not to be Ready",
            )
            told(f"{name}: no packet reaches it, to being told", began_s)
        recovered(f"{name}: cable pulled, then back", lambda: healed(cloud, name, kind))
        (after,) = cloud.containers(name, NS, engine=engine)
        assert after.id == container.id
