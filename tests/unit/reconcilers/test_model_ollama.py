"""What is planned for a Model on an Ollama: its gateway, and what it asks of the server."""

from dataclasses import replace
from typing import Any

import pytest

from controlplane.errors import TerminalError
from controlplane.plan import Plan, Resolved
from drivers.fake.models import FakeFile
from reconcilers._modelplan import RemoveModel
from reconcilers._modelserver import inner_name
from resources.meta import Footprint
from tests.unit.reconcilers.models import (
    GOOD,
    NAME,
    PLATFORM_NETWORK,
    SERVICE_UID,
    ollama,
    served,
    until_done,
    world,
)
from tests.unit.reconcilers.world import NETWORK


async def test_without_its_service_it_says_what_is_missing() -> None:
    made = await world()
    made.services["models"] = Resolved("Platform", "models", None, False, "it does not exist")
    await made.settle(ollama())
    plan, _ = await made.look(ollama())
    assert plan.wait is not None
    assert (plan.wait.reason, plan.wait.message) == ("ServiceUnavailable", "it does not exist")


async def test_a_gateway_stands_before_the_platforms_ollama() -> None:
    made = await world()
    await served(made)
    report = await until_done(made, ollama())
    assert report.ready
    assert made.children.keys() == {("Secret", "shop-credentials"), ("Secret", "shop-admin")}
    container = made.engine.by_name(NAME)
    assert container.state.networks.keys() == {NETWORK, PLATFORM_NETWORK}
    assert container.state.aliases[NETWORK] == ("shop",)
    spec = container.spec
    assert spec is not None
    assert spec.env["UPSTREAM"] == "http://platform-models:8080"
    assert spec.env["INNER_NAME"] == inner_name(ollama()).lower()
    assert not spec.volumes
    assert spec.sysctls == {"net.ipv4.ip_forward": "0"}
    assert report.in_use == Footprint(100, 128 << 20)
    assert (await made.look(ollama()))[0] == Plan()


@pytest.mark.parametrize(
    ("name", "registries", "fine"),
    [
        ("tiny:1b", "", True),
        ("me/tiny", "", True),
        ("registry.ollama.ai/library/tiny:1b", "", True),
        ("vault:8200/a:1", "", False),
        ("vault:8200/a/b:1", "", False),
        ("vault/a/b", "", False),
        ("HF.co/me/tiny", "hf.co,reg:5000", True),
        ("reg:5000/me/tiny", "hf.co,reg:5000", True),
        ("reg:5001/me/tiny", "hf.co,reg:5000", False),
    ],
)
async def test_the_platforms_server_pulls_from_registries_that_it_may_name(
    name: str, registries: str, fine: bool
) -> None:
    made = await world()
    await served(made)
    made.services["models"] = replace(
        made.services["models"], spec={"settings": {"registries": registries}}
    )
    made.ollama.any_source = True
    wanted = ollama(source={"name": name})
    report = await until_done(made, wanted)
    assert report.ready == fine
    if not fine:
        assert not made.ollama.held
        plan, _ = await made.look(wanted)
        assert plan.wait is not None
        assert plan.wait.reason == "RegistryNotAllowed"


async def test_another_source_takes_the_place_of_the_first_one() -> None:
    made = await world()
    await served(made)
    assert (await until_done(made, ollama())).ready
    made.ollama.sources["tiny:3b"] = FakeFile("sha256:" + "c" * 64, 9)
    report = await until_done(made, ollama(source={"name": "tiny:3b"}))
    assert report.ready
    assert [name for _, name in made.ollama.held] == [
        inner_name(ollama(source={"name": "tiny:3b"}))
    ]


@pytest.mark.parametrize("mended", [GOOD.digest, None])
async def test_a_wrong_digest_of_what_is_there_stalls_it_until_the_record_is_edited(
    mended: str | None,
) -> None:
    made = await world()
    await served(made)
    assert (await until_done(made, ollama())).ready
    wrong = ollama(digest="sha256:" + "b" * 64)
    await made.settle(wrong)
    for _ in range(3):
        with pytest.raises(TerminalError) as caught:
            await made.settle(wrong)
        assert caught.value.reason == "DigestMismatch"
    assert made.ollama.pulls == 2
    report = await until_done(made, ollama(digest=mended))
    assert report.ready
    assert report.status.model_dump()["digest"] == GOOD.digest
    assert made.ollama.pulls == 2


@pytest.mark.parametrize(
    ("keep_alive", "seconds"), [("always", None), ("1m", 60), ("24h", 86400), ("0s", 0)]
)
async def test_it_stays_in_memory_for_as_long_as_the_record_says(
    keep_alive: str, seconds: int | None
) -> None:
    made = await world()
    await served(made)
    wanted = ollama(keepAlive=keep_alive)
    assert (await until_done(made, wanted)).ready
    held = next(iter(made.ollama.held.values()))
    if seconds is None or seconds < 240:  # the server's own is 300 s
        assert held.keep_alive_s == seconds
    held.loaded, held.keep_alive_s = True, None
    assert (await until_done(made, wanted)).ready
    assert held.keep_alive_s == seconds


@pytest.mark.parametrize(
    ("spec", "told"),
    [({}, None), ({"keepAlive": "5m"}, None), ({"keepAlive": "0s"}, None),
     ({"keepAlive": "always"}, None), ({"keepAlive": "301s"}, "301"),
     ({"keepAlive": "24h"}, "86400")],
)  # fmt: skip
async def test_a_gateway_knows_of_what_is_longer_than_the_servers_own_time(
    spec: dict[str, Any], told: str | None
) -> None:
    made = await world()
    await served(made)
    assert (await until_done(made, ollama(**spec))).ready
    found = made.engine.by_name(NAME).spec
    assert found is not None
    known = {"MODEL_NAME": "shop", "PORT": "8080", "BACKEND": "ollama"}
    known |= {"UPSTREAM": "http://platform-models:8080", "INNER_NAME": inner_name(ollama())}
    # all there is of it without one, as earlier releases made it: else those go down at an upgrade
    assert found.env == (known if told is None else {**known, "KEEP_ALIVE_S": told})


async def test_deleting_frees_it_on_the_server_or_says_what_holds_it() -> None:
    made = await world()
    await served(made)
    assert (await until_done(made, ollama())).ready
    url = made.services["models"].status["endpoints"]["api"]
    made.ollama.away.add(f"http://{url}")
    plan, _ = await made.look(ollama(deleting=True))
    assert plan.wait is not None
    assert plan.wait.reason == "ServiceUnavailable"
    assert "models" in plan.wait.message
    made.ollama.away.clear()
    plan, _ = await made.look(ollama(deleting=True))
    assert isinstance(plan.steps[0], RemoveModel)
    await made.settle(ollama(deleting=True))
    assert not made.ollama.held
    assert not made.engine.has_name(NAME)
    assert not made.children


async def test_a_server_that_is_gone_for_good_holds_nothing() -> None:
    made = await world()
    await served(made)
    assert (await until_done(made, ollama())).ready
    made.services["models"] = Resolved("Platform", "models", None, False, "it does not exist")
    await made.settle(ollama(deleting=True))
    assert not made.engine.has_name(NAME)
    assert not made.children


async def test_a_gateway_stays_while_its_server_is_away() -> None:
    made = await world()
    await served(made)
    assert (await until_done(made, ollama())).ready
    before = made.engine.by_name(NAME).state.id
    made.services["models"] = replace(made.services["models"], ready=False, status={})
    plan, report = await made.look(ollama())
    assert plan.wait is not None
    assert plan.wait.reason == "ServiceUnavailable"
    assert not report.ready
    assert made.engine.by_name(NAME).state.id == before


async def test_a_gateway_without_a_server_lets_go_of_the_platforms_network() -> None:
    made = await world()
    await served(made)
    assert (await until_done(made, ollama())).ready
    made.services["models"] = Resolved("Platform", "models", None, False, "it does not exist")
    report = await made.settle(ollama())
    assert not made.engine.has_name(NAME)
    assert report.reason == "NotCreated"
    await served(made)
    assert (await until_done(made, ollama())).ready


async def test_somebody_elses_ollama_is_used_where_it_is() -> None:
    made = await world()
    external = {"external": {"endpoint": "http://10.9.9.9:11434"}}
    status = {"endpoints": {"api": "http://10.9.9.9:11434"}}
    made.services["models"] = Resolved(
        "Platform", "models", SERVICE_UID, True, "", spec=external, status=status
    )
    assert (await until_done(made, ollama())).ready
    spec = made.engine.by_name(NAME).spec
    assert spec is not None
    assert spec.env["UPSTREAM"] == "http://10.9.9.9:11434"
    assert [network.network for network in spec.networks] == [NETWORK]
