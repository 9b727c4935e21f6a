"""What is planned for a Model on a server of its own, and where the plans lead."""

from dataclasses import replace
from typing import Any

import pytest

from controlplane.errors import TerminalError
from controlplane.plan import EnsureChild, Plan, Wait
from drivers.containers import Limits, VolumeMount
from drivers.fake.models import FakeFile
from reconcilers._modelplan import EnsureModel, LoadModel
from reconcilers._modelserver import pause_s
from resources.meta import Footprint
from tests.unit.reconcilers.models import GOOD, NAME, URL, VOLUME, model, until_done, world
from tests.unit.reconcilers.world import NETWORK, NS_UID, UID, World, names

REFUSED = {"type": "Admitted", "status": "False", "reason": "QuotaExceeded", "message": "full"}


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


async def test_it_tells_why_its_volume_may_not_grow() -> None:
    made = await world()
    await made.settle(model())
    child = made.children[("Volume", VOLUME)]
    status = {**child.status, "conditions": [REFUSED]}
    made.children[("Volume", VOLUME)] = replace(child, status=status)
    plan, report = await made.look(model())
    assert report.ready
    assert plan.wait == Wait("QuotaExceeded", f"Volume '{VOLUME}' has no room: full")


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
        pytest.param(
            lambda w: w.values.data[("Secret", "shop-admin")].update(token=b"x"), id="admin key"
        ),
        pytest.param(
            lambda w: [x.pop(("Secret", "shop-admin")) for x in (w.values.data, w.children)],
            id="no admin Secret",
        ),
        pytest.param(lambda w: w.files.tamper(UID, "admin", None), id="no admin file"),
        pytest.param(lambda w: w.files.tamper(UID, "admin", b"x"), id="admin file"),
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


def given_disk(made: World, asked: str, given: str, *conditions: Any, **changes: Any) -> None:
    """Its Volume asks for so much, and has so much."""
    child = made.children[("Volume", VOLUME)]
    spec = {**child.spec, "size": asked}
    held = {"cpu": "0", "memory": "0", "disk": given}
    status = {**child.status, "allocation": held, "conditions": list(conditions)}
    made.children[("Volume", VOLUME)] = replace(child, spec=spec, status=status, **changes)


async def test_nothing_else_is_begun_while_its_volume_is_asked_for_more() -> None:
    made = await world()
    assert (await until_done(made, model())).ready
    given_disk(made, "100Gi", "8Gi")
    assert (await made.look(model(storage="100Gi")))[0] == Plan()
    larger = model(storage="100Gi", source={"url": "http://models.test/large.gguf"})
    plan, _ = await made.look(larger)
    assert plan.wait is not None
    assert (plan.wait.reason, plan.wait.recheck_after_s) == ("VolumePending", 2.0)
    made.llamacpp.held.clear()
    for disk, most in (("8Gi", 8 << 30), ("100Gi", 100 << 30)):
        given_disk(made, "100Gi", disk)
        plan, _ = await made.look(larger)
        (step,) = plan.steps
        assert isinstance(step, EnsureModel)
        assert step.order.max_bytes == most


@pytest.mark.parametrize(
    ("given", "conditions", "changes", "reason"),
    [
        pytest.param("2Mi", (), {}, "VolumePending", id="asked for"),
        pytest.param("2Mi", (REFUSED,), {}, "QuotaExceeded", id="refused"),
        pytest.param("2Mi", (), {"deleting": True}, None, id="never answered"),
        pytest.param("3Mi", (REFUSED,), {}, None, id="enough, and more was refused"),
    ],
)
async def test_what_is_larger_than_its_disk_waits_for_that_unless_only_an_edit_helps(
    given: str, conditions: tuple[Any, ...], changes: dict[str, Any], reason: str | None
) -> None:
    made = await world()
    made.llamacpp.sources[URL] = FakeFile(GOOD.digest, 4 << 20)
    wanted = model(storage="3Mi")
    await made.settle(model(storage="2Mi"))
    given_disk(made, "3Mi", given, *conditions, **changes)
    if reason is None:
        with pytest.raises(TerminalError) as caught:
            await until_done(made, wanted)  # it is ordered anew, where it has more
        assert caught.value.reason == "TooLarge"
        return
    plan, report = await made.look(wanted)
    assert plan.wait is not None
    assert plan.wait.reason == reason
    assert (report.ready, report.reason) == (False, "TooLarge")


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


async def test_it_serves_on_while_its_users_key_is_exchanged() -> None:
    made = await world()
    before = await until_done(made, model())
    made.values.data[("Secret", "shop-credentials")]["token"] = b"another"
    plan, report = await made.look(model())
    assert names(plan) == ["WriteSecrets"]
    assert report == before
    assert (await until_done(made, model())) == before
    made.values.data[("Secret", "shop-credentials")]["token"] = b""
    with pytest.raises(TerminalError) as caught:
        await made.settle(model())
    assert caught.value.reason == "SecretInvalid"
    _, report = await made.look(model())
    assert report == before
    assert made.files.folders[UID].files["token"] == b"another"


async def test_it_serves_on_while_the_image_it_runs_from_has_lost_its_name() -> None:
    made = await world()
    await until_done(made, model())
    made.engine.images.clear()
    made.containers = type(made.containers)(made.engine, images="local")
    published = model(publish={})
    plan, _ = await made.look(published)
    assert names(plan) == ["EnsureImage", "RemoveContainer", "RunContainer"]
    with pytest.raises(AssertionError):
        await made.settle(published, most=3)
    assert made.engine.by_name(NAME).state.running
