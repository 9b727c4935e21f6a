"""The routes that the ingress is told: exactly the names there are, to exactly those backends."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from controlplane.errors import RetryableError
from controlplane.plan import Dependent, Plan
from reconcilers._container import WriteSecrets
from reconcilers._service import Facts, Routing
from reconcilers._service_ingress import SERVICE
from reconcilers.platform import NOT_APPLIED_AT_MOST_S
from resources._offers import OFFERS
from resources.text import PublicHost
from tests.unit.reconcilers.platforms import NAME, network_of, platform, settled
from tests.unit.reconcilers.world import UID, World

FACTS = Facts("ingress", {}, OFFERS["ingress"].resources, 0)


def user(namespace: str, *hosts: str, backends: tuple[str, ...] = ("10.1.0.2:80",)) -> Dependent:
    return Dependent(
        kind="App",
        namespace=namespace,
        name="web",
        uid=f"uid-{namespace}",
        created="",
        spec={"domains": [{"host": host} for host in hosts]},
        status={
            "backends": list(backends),
            "allocation": {"names": [{"scope": "host", "name": host} for host in hosts]},
        },
        deleting=False,
        network=f"namespace-{namespace}",
        network_ready=True,
    )


def routing(*users: Dependent, settings: Mapping[str, str] | None = None) -> Routing:
    assert SERVICE.routing is not None
    return SERVICE.routing(replace(FACTS, settings=settings or {}), users)


def tables(found: Routing) -> dict[str, Any]:
    text = next(file.template for file in found.files if file.path == "routes/apps.yml")
    parsed: dict[str, Any] = json.loads(text)["http"]
    return parsed


def test_two_apps_of_one_name_are_told_apart_by_address() -> None:
    found = tables(
        routing(
            user("a", "a.example.org", backends=("10.1.0.2:80", "10.1.0.3:80")),
            user("b", "b.example.org", "c.example.org", backends=("10.2.0.2:80",)),
        )
    )
    rules = {(r["rule"], r["service"], *r["entryPoints"]) for r in found["routers"].values()}
    assert rules == {
        ("Host(`a.example.org`)", "uid-a", "web"),
        ("Host(`a.example.org`)", "uid-a", "websecure"),
        ("Host(`b.example.org`)", "uid-b", "web"),
        ("Host(`b.example.org`)", "uid-b", "websecure"),
        ("Host(`c.example.org`)", "uid-b", "web"),
        ("Host(`c.example.org`)", "uid-b", "websecure"),
    }
    servers = {
        uid: [server["url"] for server in service["loadBalancer"]["servers"]]
        for uid, service in found["services"].items()
    }
    assert servers == {
        "uid-a": ["http://10.1.0.2:80", "http://10.1.0.3:80"],
        "uid-b": ["http://10.2.0.2:80"],
    }


def test_a_name_that_is_only_asked_for_is_not_routed() -> None:
    """It may be another tenant's: the edit that asks for it waits, and the App serves on."""
    asks = user("b", "b.example.org")
    asks.status["allocation"]["spec"] = asks.spec
    hosts = [{"host": "a.example.org"}, {"host": "login.a.example.org"}]
    found = tables(routing(user("a", "a.example.org"), replace(asks, spec={"domains": hosts})))
    rules = {(r["rule"], r["service"]) for r in found["routers"].values()}
    assert rules == {("Host(`a.example.org`)", "uid-a"), ("Host(`b.example.org`)", "uid-b")}


def test_a_name_that_was_taken_off_is_not_routed_while_it_is_held() -> None:
    """An App that doesn't come up keeps its names, to be healed under them."""
    both = user("a", "a.example.org", "old.example.org")
    left = replace(both, spec={"domains": [{"host": "a.example.org"}]})
    assert {r["rule"] for r in tables(routing(left))["routers"].values()} == {
        "Host(`a.example.org`)"
    }


def test_what_serves_nobody_is_not_routed_and_no_table_is_empty() -> None:
    gone = replace(user("b", "b.example.org"), deleting=True)
    found = routing(user("a", "a.example.org", backends=()), gone, user("c"))
    assert tables(found).keys() == {"middlewares"}
    assert found.told == {}


def test_other_routes_have_another_name_to_be_acknowledged_by() -> None:
    one, other = routing(user("a", "a.example.org")), routing(user("a", "b.example.org"))
    assert one == routing(user("a", "a.example.org"))
    assert one.applied.path != other.applied.path
    for found in (one, other):
        (generation,) = tables(found)["middlewares"].keys() - {"again"}
        assert found.applied.path == f"/api/http/middlewares/{generation}@file"


def test_its_own_port_asks_for_the_password() -> None:
    inner = next(f.template for f in routing().files if f.path == "routes/inner.yml")
    routers = json.loads(inner)["http"]["routers"]
    assert {r["service"] for r in routers.values()} == {"api@internal", "prometheus@internal"}
    assert all(r["middlewares"] == ["inner-login"] for r in routers.values())


def test_an_upload_may_take_longer_than_a_minute() -> None:
    (made,) = SERVICE.containers(FACTS)
    for name in ("web", "websecure"):
        flag = f"--entrypoints.{name}.transport.respondingtimeouts.readtimeout=1h"
        assert flag in made.command


ACME = {
    "acmeEmail": "ops@example.org",
    "acmeServer": "https://acme.example.org/directory",
    "acmeRoots": "-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n",
}


def resolver_of(**settings: str) -> tuple[str, set[str]]:
    """The name of whom certificates come from, as all routes have it, and how it is set up."""
    (made,) = SERVICE.containers(replace(FACTS, settings=settings))
    start = "--certificatesresolvers."
    flags = [f.removeprefix(start) for f in made.command if f.startswith(start)]
    (name,) = {flag.split(".")[0] for flag in flags}
    routers = tables(routing(user("a", "a.example.org"), settings=settings))["routers"]
    assert [r["tls"] for r in routers.values() if "tls" in r] == [{"certResolver": name}]
    return name, {flag.removeprefix(f"{name}.acme.") for flag in flags}


def test_with_an_address_to_write_to_certificates_are_made_by_themselves() -> None:
    (made,) = SERVICE.containers(replace(FACTS, settings=ACME))
    assert resolver_of(**ACME)[1] == {
        "email=ops@example.org",
        "storage=/data/acme.json",
        "httpchallenge.entrypoint=web",
        "caserver=https://acme.example.org/directory",
        "cacertificates=/run/secrets/roots.pem",
    }
    assert {file.path: file.template for file in made.files} == {"roots.pem": ACME["acmeRoots"]}


def test_another_server_of_certificates_is_another_resolver() -> None:
    """Traefik keeps certificates by the resolver's name, and asks for none that it has."""
    mail, server = ACME["acmeEmail"], ACME["acmeServer"]
    assert resolver_of(acmeEmail=mail)[0] == "acme", "what there is stays"
    name = resolver_of(**ACME)[0]
    assert re.fullmatch(r"acme-[0-9a-f]{8}", name)
    assert resolver_of(acmeEmail="dns@example.org", acmeServer=server)[0] == name
    assert resolver_of(acmeEmail=mail, acmeServer=f"{server}2")[0] not in (name, "acme")


def test_without_one_none_are() -> None:
    (made,) = SERVICE.containers(FACTS)
    assert not any("certificatesresolvers" in flag for flag in made.command)
    assert made.files == ()


def test_its_settings_are_taken_by_the_model() -> None:
    assert platform("ingress", settings=ACME).spec.settings == ACME
    with pytest.raises(ValidationError, match="PEM"):
        platform("ingress", settings={"acmeRoots": "-----BEGIN PRIVATE KEY-----"})


HOSTS = TypeAdapter[str](PublicHost)


@given(text=st.text(st.sampled_from("`|()&!\\ab.-*{}:/\n \"'0é"), max_size=40))
def test_a_name_that_the_model_takes_is_nothing_but_a_name_in_its_rule(text: str) -> None:
    try:
        host = HOSTS.validate_python(text)
    except ValidationError:
        return
    rules = [r["rule"] for r in tables(routing(user("a", host)))["routers"].values()]
    assert all(re.fullmatch(r"Host\(`[-a-z0-9.]+`\)", rule) for rule in rules)
    assert rules[0] == f"Host(`{host}`)"


# -- the ingress as a service of the platform


async def routes_of(world: World) -> dict[str, Any]:
    _, report = await world.look(platform("ingress"))
    found: dict[str, Any] = report.status.model_dump()["routes"]
    return found


async def test_new_routes_restart_nothing_and_are_told_once_they_are_applied() -> None:
    world = await settled(platform("ingress"))
    before = world.engine.by_name(NAME)
    await network_of(world, "a", "10.202.0.0/24")
    world.dependents = (user("a", "a.example.org"),)
    wanted = routing(*world.dependents).applied.path
    world.probe.missing = lambda path: path == wanted
    with_old = platform("ingress")
    with pytest.raises(RetryableError) as caught:
        await world.settle(with_old)
    assert (caught.value.reason, caught.value.at_most_s) == ("NotApplied", NOT_APPLIED_AT_MOST_S)
    assert b"a.example.org" in world.files.folders[UID].files["routes/apps.yml"]
    world.probe.missing = lambda _: False
    report = await world.settle(with_old)
    assert report.ready
    assert await routes_of(world) == {"uid-a": ("10.1.0.2:80",)}
    after = world.engine.by_name(NAME)
    assert (after.state.id, after.starts) == (before.state.id, before.starts)
    assert (await world.look(with_old))[0] == Plan()


async def test_until_then_it_tells_what_it_worked_by_before() -> None:
    world = await settled(platform("ingress"))
    world.dependents = (user("a", "a.example.org"),)
    world.probe.missing = lambda path: path.startswith("/api")
    spec = platform("ingress")
    told = {"status": {"routes": {"uid-a": ["10.9.0.9:80"]}}}
    spec = spec.model_validate({**spec.model_dump(by_alias=True), **told})
    reconciler = world.reconciler("Platform")
    want = world.want(spec)
    report = reconciler.status(want, await reconciler.observe(want))
    assert report.status.model_dump()["routes"] == {"uid-a": ("10.9.0.9:80",)}


def files_of(world: World) -> dict[str, bytes]:
    return {
        name: content
        for name, content in world.files.folders[UID].files.items()
        if name.startswith("routes/")
    }


def middlewares(files: dict[str, bytes]) -> set[str]:
    """Of the one configuration that Traefik makes of all its files."""
    found = [json.loads(content)["http"] for content in files.values()]
    return {name for each in found for name in each.get("middlewares", {})}


async def test_names_without_a_certificate_are_asked_for_again_each_hour() -> None:
    """Traefik asks when the routes come, and then only when its configuration is another."""
    with_mail = platform("ingress", settings=ACME)
    world = await settled(with_mail)
    await network_of(world, "a", "10.202.0.0/24")
    world.dependents = (user("a", "a.example.org"),)
    await world.settle(with_mail)
    before, made = files_of(world), world.engine.by_name(NAME)
    world.clock.elapsed_s = 3599
    assert (await world.look(with_mail))[0] == Plan()
    world.clock.elapsed_s = 3600
    applied = routing(*world.dependents, settings=ACME).applied.path
    world.probe.missing = lambda path: path.startswith("/api") and path != applied
    plan, report = await world.look(with_mail)
    assert [type(step) for step in plan.steps] == [WriteSecrets]
    assert report.ready
    assert (await world.settle(with_mail)).ready, "by the same routes: nobody waits for them"
    after = files_of(world)
    there, was = middlewares(after), middlewares(before)
    assert len(there - was) == len(was - there) == 1
    assert after["routes/apps.yml"] == before["routes/apps.yml"]
    now = world.engine.by_name(NAME)
    assert (now.state.id, now.starts) == (made.state.id, made.starts)


async def test_without_certificates_nothing_is_asked_for_again() -> None:
    world = await settled(platform("ingress"))
    for hour in range(1, 30):
        world.clock.elapsed_s = hour * 3600
        assert (await world.look(platform("ingress")))[0] == Plan()
