"""Platform: every service of this release keeps the rules and is told in the docs."""

from pathlib import Path

import pytest
import yaml

from controlplane.plan import EnsureChild, EnsureSecret, Plan
from reconcilers._service import Facts
from reconcilers._services import SERVICES
from resources._offers import OFFERS
from tests.unit.reconcilers.platforms import platform, settled
from tests.unit.reconcilers.world import UID, World


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_every_service_keeps_the_rules(service: str) -> None:
    spec = platform(service)
    made = SERVICES[spec.spec.service]
    facts = Facts("shop", {}, spec.spec.limits, spec.spec.storage_bytes)
    containers = made.containers(facts)
    assert containers == made.containers(facts)
    assert not containers[0].name
    assert len({each.name for each in containers}) == len(containers)
    assert sum(each.share for each in containers[1:]) < 1000
    names = [file.path for each in containers for file in each.files]
    assert len(set(names)) == len(names)
    listened = [port for each in containers for port in (each.ports or spec.spec.offer.ports)]
    assert sorted(listened) == sorted(spec.spec.offer.ports)
    assert all(key.replace("-", "a").isalnum() for key in made.secret(facts))


@pytest.mark.parametrize("service", sorted(SERVICES))
async def test_every_service_settles_and_leaves_nothing(service: str) -> None:
    spec = platform(service, deletionPolicy="Delete")
    world = await settled(spec)
    plan, report = await world.look(spec)
    assert plan == Plan()
    assert report.in_use == spec.footprint
    await world.settle(platform(service, deletionPolicy="Delete", deleting=True))
    assert not world.engine.containers
    assert not world.children


def test_the_docs_name_every_service_port_setting_and_key() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs/platform.md").read_text()
    for service, offer in OFFERS.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{service}` |"))
        assert ", ".join(offer.ports) in row
        keys = SERVICES[service].secret(Facts(service, {}, offer.resources, offer.storage_bytes))
        assert [key for key in keys if key not in row] == []
        for setting in offer.settings:
            assert f"| `{service}` | `{setting}` |" in page


def test_prometheus_asks_nobody_whose_password_it_does_not_have() -> None:
    """Such a target answers 401, and counts as down for ever."""
    offer = OFFERS["metrics"]
    facts = Facts("metrics", {}, offer.resources, offer.storage_bytes)
    files = {f.path: f.template for c in SERVICES["metrics"].containers(facts) for f in c.files}
    jobs = yaml.safe_load(files["prometheus.yml"])["scrape_configs"]
    targets = [t for job in jobs for each in job["static_configs"] for t in each["targets"]]
    assert {target.partition(":")[0] for target in targets} == {
        "127.0.0.1",
        "metrics-alertmanager",
        "metrics-pushgateway",
    }
    assert all(job["basic_auth"]["password_file"].endswith("/password") for job in jobs)


@pytest.mark.parametrize("whole", [True, False], ids=["Secret", "key"])
async def test_a_vault_waits_for_the_key_that_its_data_needs(whole: bool) -> None:
    """Another one would shut out what runs with it still."""
    vault, name = platform("vault"), ("Secret", "shop-credentials")
    world = await settled(vault)
    (container,) = world.engine.containers.values()
    kept, before = dict(world.values.data[name]), container.state
    if whole:
        del world.values.data[name], world.children[name]
    else:
        del world.values.data[name]["unseal-key"]
    plan, report = await world.look(vault)
    assert plan.wait is not None
    assert plan.wait.reason == "UnsealKeyMissing"
    assert world.files.path_of(UID) in plan.wait.message
    assert report.ready
    world.values.data[name] = kept
    assert (await world.settle(vault)).ready
    assert [each.state for each in world.engine.containers.values()] == [before]


async def test_a_vault_has_its_key_before_its_data() -> None:
    world = World()
    await world.network()
    plan, _ = await world.look(platform("vault"))
    assert [type(step) for step in plan.steps] == [EnsureSecret, EnsureChild]
