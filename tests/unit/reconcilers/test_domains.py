"""The names of an App appear in its namespace's Zones by themselves, and go with the domain."""

from typing import Any

from controlplane.plan import EnsureChild, Owned, Plan, RemoveChild, Resolved
from controlplane.records import Key
from resources.kinds import KIND_INFOS
from tests.support.platform import Platform
from tests.support.running import USER
from tests.support.virtual import in_virtual_time
from tests.unit.reconcilers.world import World, app, record

SHOP = {"host": "shop.example.org", "zoneRef": {"name": "example"}}
WWW = {"host": "www.example.org", "zoneRef": {"name": "example"}}
INGRESS = {"service": "ingress", "settings": {"address": "192.0.2.80"}}
ELSEWHERE = {"host": "shop.example.net"}


async def settled(*domains: dict[str, Any], address: str = "192.0.2.80", **rest: Any) -> World:
    world = World()
    await world.network()
    say(world, address)
    await world.settle(app(domains=list(domains), **rest))
    return world


def say(world: World, address: str) -> None:
    settings = {"settings": {"address": address}} if address else {}
    world.services = {"ingress": Resolved("Platform", "ingress", "i", True, "", None, settings, {})}


def names(world: World) -> dict[str, Any]:
    return {name: child.spec for (_, name), child in world.children.items()}


async def told(world: World, *domains: dict[str, Any], **status: Any) -> Any:
    made = record("App", {"image": "shop:1", "port": 80, "domains": list(domains)}, status=status)
    return (await world.look(made))[1]


async def test_a_name_in_a_zone_leads_to_the_ingress() -> None:
    world = await settled(SHOP, ELSEWHERE)
    assert names(world) == {
        "shop-shop.example.org": {
            "zoneRef": {"name": "example"},
            "name": "shop.example.org.",
            "type": "A",
            "records": ["192.0.2.80"],
        }
    }
    assert (await world.look(app(domains=[SHOP, ELSEWHERE])))[0] == Plan()
    report = await told(world, SHOP, ELSEWHERE)
    assert report.status.model_dump()["names"] == ("shop-shop.example.org",)
    assert [(c.type, c.status) for c in report.conditions] == [("Published", "True")]


async def test_a_domain_that_is_dropped_takes_its_name_along() -> None:
    world = await settled(SHOP, WWW)
    spec = {"image": "shop:1", "port": 80, "domains": [SHOP]}
    after = record("App", spec, status={"names": ["shop-shop.example.org", "shop-www.example.org"]})
    plan, _ = await world.look(after)
    assert plan == Plan((RemoveChild("RecordSet", "shop-www.example.org"),))
    none = record(
        "App", {**spec, "domains": [], "replicas": 0}, status={"names": list(names(world))}
    )
    await world.settle(none)
    assert names(world) == {}


async def test_another_address_of_the_ingress_is_followed() -> None:
    world = await settled(SHOP)
    say(world, "192.0.2.81")
    await world.settle(app(domains=[SHOP]))
    assert names(world)["shop-shop.example.org"]["records"] == ["192.0.2.81"]


async def test_without_an_address_nothing_is_said_and_nothing_taken_back() -> None:
    world = await settled(SHOP, address="")
    assert names(world) == {}
    (condition,) = (await told(world, SHOP)).conditions
    assert (condition.status, condition.reason) == ("False", "AddressUnknown")
    assert "spec.settings.address" in condition.message
    world = await settled(SHOP)
    say(world, "")
    assert (await world.look(app(domains=[SHOP])))[0] == Plan()
    assert len(names(world)) == 1


async def test_a_record_set_of_somebody_else_is_left_alone_and_another_name_taken() -> None:
    world = await settled()
    theirs = Owned("RecordSet", "shop-shop.example.org", "u", True, {}, {}, owned=False)
    world.children[("RecordSet", "shop-shop.example.org")] = theirs
    (step,) = (await world.look(app(domains=[SHOP])))[0].steps
    assert isinstance(step, EnsureChild)
    assert step.name != theirs.name
    await world.settle(app(domains=[SHOP]))
    assert names(world)[step.name]["name"] == "shop.example.org."
    assert (await world.look(app(domains=[SHOP])))[0] == Plan()
    # it stays so when the other is gone
    del world.children[("RecordSet", theirs.name)]
    assert (await world.look(app(domains=[SHOP])))[0] == Plan()
    none = record("App", {"image": "shop:1", "domains": []}, status={"names": [step.name]})
    assert (await world.look(none))[0].steps == (RemoveChild("RecordSet", step.name),)


@in_virtual_time
async def test_names_that_read_alike_are_those_of_their_own_apps() -> None:
    hosts = {"a": "b-c.org", "a-b": "c.org", "long": ".".join([*["x" * 61] * 4, "org"])}
    async with Platform().running() as platform:
        await serve(platform, ingress=INGRESS)
        for name, host in hosts.items():
            domain = {"host": host, "zoneRef": {"name": "example"}}
            await platform.apply("App", name, image="web:1", port=80, domains=[domain])
        await platform.settle(60)
        told = {
            str(stored.meta["ownerReferences"][0]["name"]): stored.obj["spec"]["name"]
            for stored in platform.store.cache.list("RecordSet", "shop")
        }
        assert told == {name: f"{host}." for name, host in hosts.items()}


@in_virtual_time
async def test_a_name_outside_its_zone_is_published_nowhere() -> None:
    async with Platform().running() as platform:
        await serve(platform, ingress=INGRESS, dns={"service": "dns"})
        await platform.apply("Zone", "example", domain="example.org")
        domains = [{**SHOP, "host": "shop.example.net"}]
        key = await platform.apply("App", "shop", image="web:1", port=80, domains=domains)
        await platform.settle(60)
        server = platform.dns.anywhere
        assert server is not None
        assert [each.name for each in server.zones["example.org."].rrsets] == ["example.org."]
        assert platform.condition(key, "Published")["status"] == "False"
        child = Key("RecordSet", "shop", "shop-shop.example.net")
        assert "not in the zone 'example.org'" in platform.condition(child)["message"]
        await platform.apply("App", "shop", image="web:1", port=80, domains=[SHOP])
        await platform.settle(60)
        assert server.lookup("shop.example.org.", "A") == ("192.0.2.80",)
        assert platform.condition(key, "Published")["status"] == "True"


async def serve(platform: Platform, **services: dict[str, Any]) -> None:
    """Platform records of these names, with these specs."""
    await platform.settle(1)
    whole = {name: ("Platform", {"name": name, "namespace": "platform"}, {"spec": spec})
             for name, spec in services.items()}  # fmt: skip
    for kind, meta, rest in (("Namespace", {"name": "platform"}, {}), *whole.values()):
        version = KIND_INFOS[kind].api_version
        obj = {"apiVersion": version, "kind": kind, "metadata": meta, **rest}
        await platform.records.create(kind, obj, actor=USER)
    await platform.settle(30)


async def test_a_name_that_is_not_served_yet_says_so() -> None:
    world = await settled(SHOP)
    child = world.children[("RecordSet", "shop-shop.example.org")]
    world.children[("RecordSet", "shop-shop.example.org")] = Owned(
        child.kind, child.name, child.uid, False, child.spec, child.status
    )
    (condition,) = (await told(world, SHOP)).conditions
    assert (condition.status, condition.reason) == ("False", "Pending")
