"""What is planned for a Model, and where the plans lead."""

from dataclasses import replace
from typing import Any

import pytest

from controlplane.errors import TerminalError
from controlplane.plan import Binding, EnsureChild, Plan, Resolved
from drivers.containers import (
    ContainerSpec,
    Limits,
    NetworkAttachment,
    NetworkSpec,
    Owner,
    VolumeMount,
)
from drivers.digest import container_digest
from drivers.fake.models import FakeFile
from reconcilers._modelplan import EnsureModel, LoadModel, RemoveModel
from reconcilers._modelserver import inner_name, pause_s
from reconcilers._modelsource import authorization, manifest_url
from resources.meta import Footprint
from resources.model import Model
from tests.unit.reconcilers.world import NETWORK, NS_UID, UID, World, record

NAME = "model-shop-shop-uuuuuuuu"
VOLUME = "model-shop-shop-gguf-nnnnnnnn"
URL = "http://models.test/tiny.gguf"
GOOD = FakeFile("sha256:" + "a" * 64, 5000)
SERVICE_UID = "pppppppp-1"
PLATFORM_NETWORK = "namespace-platform-pppppppp"


def model(*, deleting: bool = False, **spec: Any) -> Model:
    found = record("Model", {"source": {"url": URL}, **spec}, deleting=deleting)
    assert isinstance(found, Model)
    return found


def ollama(*, deleting: bool = False, **spec: Any) -> Model:
    given = {"engine": "ollama", "source": {"name": "tiny:1b"}, **spec}
    return model(deleting=deleting, **given)


async def world() -> World:
    made = World()
    await made.network()
    made.llamacpp.sources[URL] = GOOD
    made.ollama.sources["tiny:1b"] = GOOD
    return made


async def served(made: World, *, ready: bool = True) -> None:
    """The platform's own Ollama, with its container in its own network."""
    owner = Owner(SERVICE_UID, "Platform", "platform", "models")
    network = Owner("ns", "Namespace", "", "platform")
    await made.containers.ensure_network(NetworkSpec(PLATFORM_NETWORK, network, "10.202.0.0/24"))
    blank = ContainerSpec(
        "platform-models", owner, "ollama:1", "", Limits(100, 1 << 28),
        networks=(NetworkAttachment(PLATFORM_NETWORK, ("models",)),),
    )  # fmt: skip
    state = await made.containers.ensure_container(replace(blank, digest=container_digest(blank)))
    await made.containers.start_container(state.id)
    found = made.engine.containers[state.id].state.networks[PLATFORM_NETWORK]
    status = {"endpoints": {"api": f"{found}:8080"}}
    made.services["models"] = Resolved(
        "Platform", "models", SERVICE_UID, ready, "", spec={}, status=status
    )


def names(plan: Plan[Any]) -> list[str]:
    return [type(step).__name__ for step in plan.steps]


async def until_done(made: World, wanted: Model) -> Any:
    """Past the waits of a pull."""
    report = await made.settle(wanted)
    for _ in range(4):
        if not report.ready:
            report = await made.settle(wanted)
    return report


async def test_records_come_before_anything_outside() -> None:
    made = await world()
    plan, report = await made.look(model())
    assert names(plan) == ["EnsureChild", "EnsureSecret", "EnsureSecret"]
    child = plan.steps[0]
    assert isinstance(child, EnsureChild)
    assert (child.kind, child.name, child.spec["size"]) == ("Volume", VOLUME, "8Gi")
    assert child.spec["claim"]["namespaceUid"] == NS_UID
    assert report.reason == "NotCreated"


async def test_it_is_fetched_only_once_its_disk_is_admitted() -> None:
    made = await world()
    await made.settle(model())
    made.children[("Volume", VOLUME)] = replace(
        made.children[("Volume", VOLUME)], ready=False, status={}
    )
    made.engine.remove(NAME)
    made.llamacpp.held.clear()
    plan, _ = await made.look(model())
    assert plan.wait is not None
    assert plan.wait.reason == "VolumePending"
    assert not made.llamacpp.held


async def test_it_serves_as_the_spec_says() -> None:
    made = await world()
    wanted = model(resources={"cpu": "500m", "memory": "512Mi"}, keepAlive="2m", contextLength=512)
    report = await made.settle(wanted)
    assert (report.ready, report.reason) == (False, "Pulling")
    plan, report = await made.look(wanted)
    assert plan == Plan()
    assert (report.ready, report.reason, report.recheck_after_s) == (True, "Serving", 30.0)
    status = report.status.model_dump(by_alias=True, exclude_none=True)
    assert status["phase"] == "Ready"
    assert (status["digest"], status["size"], status["progress"]) == (GOOD.digest, "5000", "100%")
    assert status["endpoint"] == "http://shop:8080/v1"
    assert report.in_use == Footprint(500, 512 << 20)
    container = made.engine.by_name(NAME)
    assert container.state.limits == Limits(500, 512 << 20)
    assert container.state.aliases == {NETWORK: ("shop",)}
    spec = container.spec
    assert spec is not None
    assert spec.volumes == (VolumeMount(f"volume-{VOLUME}", "/data"),)
    assert spec.read_only_root
    assert spec.env["KEEP_ALIVE_S"] == "120"
    assert spec.env["CONTEXT_LENGTH"] == "512"
    assert "generated" not in repr(spec)
    files = made.files.folders[UID].files
    assert files == {"token": b"generated-shop-credentials", "admin": b"generated-shop-admin"}


async def test_progress_is_told_in_whole_percent_and_not_too_often() -> None:
    made = await world()
    made.llamacpp.looks = 3
    report = await made.settle(model())
    told = []
    for _ in range(3):
        plan, report = await made.look(model())
        told.append(report.status.model_dump()["progress"])
        if plan.wait is not None:
            assert plan.wait.recheck_after_s == 2.0
    assert told == ["50%", "75%", "100%"]


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda w: w.engine.kill(NAME), id="killed"),
        pytest.param(lambda w: w.engine.pause(NAME), id="paused"),
        pytest.param(lambda w: w.engine.remove(NAME), id="removed"),
        pytest.param(lambda w: w.engine.rename(NAME, "other"), id="renamed"),
        pytest.param(lambda w: w.engine.update(NAME, Limits(1, 2)), id="limits"),
        pytest.param(lambda w: w.engine.disconnect(NAME, NETWORK), id="disconnected"),
        pytest.param(lambda w: w.llamacpp.held.clear(), id="file removed"),
        pytest.param(lambda w: w.files.reboot(), id="secret files gone"),
        pytest.param(
            lambda w: w.values.data[("Secret", "shop-credentials")].update(uri=b"x"), id="secret"
        ),
    ],
)
async def test_what_others_do_to_it_is_mended(harm: Any) -> None:
    made = await world()
    assert (await until_done(made, model())).ready
    before = made.engine.by_name(NAME).state
    harm(made)
    assert (await until_done(made, model())).ready
    now = made.engine.by_name(NAME).state
    assert (now.limits, now.aliases) == (before.limits, before.aliases)
    assert made.values.data[("Secret", "shop-credentials")]["uri"] == b"http://shop:8080/v1"
    assert set(made.files.folders[UID].files) == {"token", "admin"}
    assert len(made.llamacpp.held) == 1


async def test_a_wrong_digest_stalls_it_until_the_record_is_edited() -> None:
    made = await world()
    wrong = model(digest="sha256:" + "b" * 64)
    await made.settle(wrong)
    with pytest.raises(TerminalError, match="aaaa") as caught:
        await made.look(wrong)
    assert caught.value.reason == "DigestMismatch"
    assert (await until_done(made, model(digest=GOOD.digest))).ready


async def test_more_storage_mends_what_was_too_large() -> None:
    made = await world()
    made.llamacpp.sources[URL] = FakeFile(GOOD.digest, 3 << 20)
    await made.settle(model(storage="2Mi"))
    with pytest.raises(TerminalError) as caught:
        await made.look(model(storage="2Mi"))
    assert caught.value.reason == "TooLarge"
    assert (await until_done(made, model(storage="4Mi"))).ready


async def test_a_failure_that_passes_rests_longer_each_time() -> None:
    made = await world()
    made.llamacpp.sources.clear()
    await made.settle(model())
    plan, report = await made.look(model())
    assert plan.wait is not None
    assert (plan.wait.reason, plan.wait.recheck_after_s) == ("SourceMissing", 5.0)
    assert report.reason == "SourceMissing"
    assert URL in report.message
    held = next(iter(made.llamacpp.held.values()))
    assert held.failure is not None
    held.failure = replace(held.failure, age_s=6.0)
    plan, _ = await made.look(model())
    assert names(plan) == ["EnsureModel"]
    assert [pause_s(n) for n in (1, 2, 3, 7, 1000)] == [5.0, 10.0, 20.0, 300.0, 300.0]


async def test_one_that_must_stay_in_memory_is_loaded_again() -> None:
    made = await world()
    wanted = model(keepAlive="always")
    assert (await until_done(made, wanted)).ready
    next(iter(made.llamacpp.held.values())).loaded = False
    plan, _ = await made.look(wanted)
    assert isinstance(plan.steps[0], LoadModel)
    assert plan.steps[0].keep_alive_s is None
    await made.settle(wanted)
    assert next(iter(made.llamacpp.held.values())).loaded
    next(iter(made.llamacpp.held.values())).loaded = False
    assert (await made.look(model()))[0] != Plan()  # its container still says so


async def test_deleting_leaves_nothing() -> None:
    made = await world()
    assert (await until_done(made, model())).ready
    await made.settle(model(deleting=True))
    assert not [c for c in made.engine.containers.values() if c.state.owner]
    assert not made.children
    assert not made.files.folders
    assert (await made.look(model(deleting=True)))[0] == Plan()


async def test_a_source_asks_for_what_its_secret_says() -> None:
    made = await world()
    wanted = model(source={"url": URL, "secretRef": {"name": "hub"}})
    await made.settle(wanted)
    plan, _ = await made.look(wanted)
    assert plan.wait is not None
    assert plan.wait.reason == "SecretMissing"
    made.values.data[("Secret", "hub")] = {"token": b"hush"}
    plan, _ = await made.look(wanted)
    step = plan.steps[0]
    assert isinstance(step, EnsureModel)
    assert "hush" not in repr(plan)
    await made.settle(wanted)
    held = next(iter(made.llamacpp.held.values()))
    assert held.order.headers == {"Authorization": "Bearer hush"}
    assert "hush" not in repr(held.order)


async def test_an_object_of_a_bucket_is_fetched_by_a_link_that_opens_for_an_hour() -> None:
    made = await world()
    wanted = model(source={"bucketRef": {"name": "files", "key": "a/tiny.gguf"}})
    bucket = Resolved("Bucket", "files", "b", False, "Bucket 'files' is not ready")
    made.refs["spec.source.bucketRef"] = bucket
    await made.settle(wanted)
    plan, _ = await made.look(wanted)
    assert plan.wait is not None
    assert (plan.wait.reason, plan.wait.message) == ("BucketNotReady", bucket.message)
    made.refs["spec.source.bucketRef"] = replace(
        bucket, binding=Binding("files-default", "h"), status={"bucket": "shop-files"}
    )
    values = {"endpoint": "http://s3:8333", "access-key": "AK", "secret-key": "SK", "region": "x"}
    made.values.data[("Secret", "files-default")] = {k: v.encode() for k, v in values.items()}
    plan, _ = await made.look(wanted)
    assert "SK" not in repr(plan)
    await made.settle(wanted)
    url = next(iter(made.llamacpp.held.values())).order.url
    assert url.startswith("http://s3:8333/shop-files/a/tiny.gguf?X-Amz-Algorithm=")
    assert "X-Amz-Expires=3600" in url


def test_credentials_are_a_token_or_a_pair() -> None:
    assert authorization("x", {"token": b"t\n"}) == "Bearer t"
    assert authorization("x", {"username": b"me", "password": b"pw"}) == "Basic bWU6cHc="
    for bad in ({}, {"username": b"me"}, {"token": b"a\nb"}):
        with pytest.raises(TerminalError, match="token"):
            authorization("x", bad)


def test_an_image_is_found_in_its_registry() -> None:
    digest = "sha256:" + "0" * 64
    assert manifest_url("reg.test/a/b:1", plain=False) == "https://reg.test/v2/a/b/manifests/1"
    assert manifest_url("reg:5000/a", plain=True) == "http://reg:5000/v2/a/manifests/latest"
    assert manifest_url(f"localhost/a:1@{digest}", plain=True).endswith(f"/a/manifests/{digest}")
    for bad in ("tiny:1", "team/tiny"):
        with pytest.raises(TerminalError, match="registry"):
            manifest_url(bad, plain=False)


# --- ollama ---


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
