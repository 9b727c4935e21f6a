"""manifests/platform: it fits a small host, and on the seed host it is the table to the millicore.

What it has to fit: 16 cores and 30 GiB, of which 3.5 and 5 are kept back, the platform has 11.5
and 19.5, and customers 1 and 5.5.
"""

import asyncio
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from controlplane.engine.limits import default_reserve
from reconcilers._service import ServiceContainer, ServiceDef
from reconcilers._services import SERVICES
from resources._offers import OFFERS
from resources.host import Host
from resources.kinds import MODELS
from resources.meta import Footprint
from resources.platform import Platform as Service
from tests.support.platform import Platform
from tests.support.running import USER
from tests.support.virtual import run

FOLDER: Final = Path(__file__).resolve().parents[2] / "manifests/platform"
GIB: Final = 2**30


def amount(cores: float, gib: float) -> Footprint:
    """CPU and memory as the table writes them; halves are exact in binary."""
    return Footprint(int(cores * 1000), int(gib * GIB))


SEED_HOST: Final = amount(16, 30)
RESERVED: Final = {
    "ingress": amount(0.5, 0.5),
    "system PostgreSQL": amount(1, 2),
    "system Redis": amount(0.5, 1),
    "auth": amount(0.5, 0.5),
    "billing": amount(0.5, 0.5),
    "API": amount(0.5, 0.5),
}
PLATFORM: Final = {
    "s3": amount(1, 2),
    "metrics": amount(1, 2),
    "git": amount(1, 1),
    "ci": amount(2, 2),
    "dns": amount(0.5, 0.5),
    "mail": amount(2, 4),
    "models": amount(4, 8),
}
CUSTOMERS: Final = amount(1, 5.5)
NOT_THERE_YET: Final = ("git", "ci")
PLAIN: Final = ServiceDef(lambda _: (ServiceContainer("registry", None),))
IN_THEIR_SHARE: Final = ("registry", "vault")
"""Not in the table, and running in the share of what isn't there yet."""


def documents(*files: str) -> list[dict[str, Any]]:
    found = [FOLDER / name for name in files] or sorted(FOLDER.glob("*.yaml"))
    return [body for path in found for body in yaml.safe_load_all(path.read_text())]


def total(footprints: Any) -> Footprint:
    return sum(footprints, Footprint())


def seed_sizes() -> dict[str, Footprint]:
    made = [Service.model_validate(body) for body in documents("seed/services.yaml")]
    return {record.metadata.name: record.footprint for record in made}


def test_every_record_is_valid_and_the_namespace_comes_first() -> None:
    bodies = documents()
    assert (bodies[0]["kind"], bodies[0]["metadata"]["name"]) == ("Namespace", "platform")
    for body in [*bodies[1:], *documents("seed/host.yaml", "seed/services.yaml")]:
        MODELS[body["kind"]].model_validate(body)
        if body["kind"] != "Host":
            assert body["metadata"]["namespace"] == "platform"


def test_every_service_has_its_record_under_its_own_name() -> None:
    services = [body for body in documents() if body["kind"] == "Platform"]
    assert {body["spec"]["service"] for body in services} == set(SERVICES)
    assert all(body["metadata"]["name"] == body["spec"]["service"] for body in services)
    assert seed_sizes().keys() == set(OFFERS)


def test_all_of_it_fits_a_host_of_two_cores_and_leaves_room_for_customers() -> None:
    small = amount(2, 8)
    taken = total(MODELS[body["kind"]].model_validate(body).footprint for body in documents())
    room = small - default_reserve(small) - taken
    assert amount(0.25, 1).fits(room), room


def test_the_seed_hosts_table_adds_up() -> None:
    assert total(RESERVED.values()) == amount(3.5, 5)
    assert total(PLATFORM.values()) == amount(11.5, 19.5)
    rest = SEED_HOST - total(RESERVED.values()) - total(PLATFORM.values())
    assert rest == CUSTOMERS


def test_the_seed_records_are_the_table_to_the_millicore() -> None:
    sizes = seed_sizes()
    host = Host.model_validate(documents("seed/host.yaml")[0]).spec
    assert host.reserved is not None
    assert host.capacity is not None
    capacity = host.capacity.footprint
    assert Footprint(capacity.cpu_millicores, capacity.memory_bytes) == SEED_HOST
    assert host.reserved.footprint + sizes["ingress"] == total(RESERVED.values())
    for name in PLATFORM.keys() - set(NOT_THERE_YET):
        assert sizes[name] == PLATFORM[name], name
    missing = total(PLATFORM[name] for name in NOT_THERE_YET)
    assert total(sizes[name] for name in IN_THEIR_SHARE) == missing
    assert set(sizes) == {"ingress", *IN_THEIR_SHARE, *(PLATFORM.keys() - set(NOT_THERE_YET))}


def test_the_seed_host_admits_all_of_it_and_has_the_customers_share_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # the sizes are what counts here, not what runs in them
    monkeypatch.setattr("reconcilers._running.SERVICES", dict.fromkeys(OFFERS, PLAIN))
    run(_on_the_seed_host)


async def _on_the_seed_host() -> None:
    platform = Platform()
    async with platform.running():
        await platform.settle(5)
        seed = documents("seed/host.yaml")[0]
        found = platform.store.cache.list("Host")[0]
        await platform.records.update(found, {**found.obj, "spec": seed["spec"]}, actor=USER)
        for body in [*documents("00-namespace.yaml"), *documents("seed/services.yaml")]:
            await platform.records.create(body["kind"], body, actor=USER)
        await platform.settle(60)
        free = platform.store.cache.list("Host")[0].obj["status"]["free"]
        assert (free["cpu"], free["memory"]) == ("1", "5632Mi")
        # customers get exactly that, and not a millicore more
        await _app(platform, "all", cpu="1", memory="5632Mi")
        await _app(platform, "more", cpu="10m", memory="16Mi")
        await asyncio.sleep(30)
        assert _admitted(platform, "all") == "True"
        assert _admitted(platform, "more") == "False"


async def _app(platform: Platform, name: str, **resources: str) -> None:
    await platform.apply("App", name, image="demo", port=80, resources=resources)


def _admitted(platform: Platform, name: str) -> str:
    stored = next(each for each in platform.store.cache.list("App") if each.key.name == name)
    return str(platform.condition(stored.key, "Admitted")["status"])
