"""Bucket: the keys that open it, handed out, rotated, mended and revoked."""

from typing import Any

import pytest

from controlplane.errors import RetryableError, TerminalError
from controlplane.plan import EnsureSecret, Plan, RemoveChild, Report
from drivers.fake.s3 import allowed
from reconcilers._bucketsteps import MakeKey, RemoveKey, RemoveUser
from resources.bucket import BucketStatus
from resources.meta import Condition
from tests.unit.reconcilers.buckets import ARN, WHERE, BucketWorld, bucket, told
from tests.unit.reconcilers.world import UID


@pytest.fixture
def world() -> BucketWorld:
    return BucketWorld()


@pytest.mark.parametrize(
    ("access", "may"),
    [("read", [True, False]), ("write", [False, True]), ("readwrite", [True, True])],
)
async def test_a_key_may_do_what_it_says_within_its_prefix(
    world: BucketWorld, access: str, may: list[bool]
) -> None:
    await world.settle(bucket(accessKeys=[{"name": "in", "access": access, "prefix": "in/"}]))
    identity = world.secret("in")["access-key"]
    verbs = ("s3:GetObject", "s3:PutObject")
    assert [allowed(world.server, identity, v, f"{ARN}/in/x") for v in verbs] == may
    assert not any(allowed(world.server, identity, v, f"{ARN}/out/x") for v in verbs)


async def test_a_rotation_makes_key_and_secret_anew_and_ends_the_old(world: BucketWorld) -> None:
    await world.settle(bucket())
    old = world.secret()
    rotated = bucket(accessKeys=[{"name": "default", "rotation": 1}])
    plan, _ = await world.look(rotated)
    assert [type(step) for step in plan.steps] == [EnsureSecret, MakeKey, RemoveKey]
    # the generator of this world makes the same value again: another one tells them apart
    world.values.data[("Secret", "shop-default")]["secret-key"] = b"before"
    await world.settle(rotated)
    new = world.secret()
    assert new["access-key"] != old["access-key"]
    assert new["secret-key"] != "before"
    assert world.opens(new)
    assert list(world.user().keys) == [new["access-key"]]


async def test_a_key_taken_off_the_spec_goes_with_its_secret(world: BucketWorld) -> None:
    both = [{"name": "default"}, {"name": "extra", "access": "read"}]
    report = await world.settle(bucket(accessKeys=both))
    after = bucket(was=told(report))
    plan, report = await world.look(after)
    user = f"bunker-{UID}-extra"
    assert plan.steps == (RemoveChild("Secret", "shop-extra"), RemoveUser(WHERE, user))
    assert [key.name for key in told(report).access_keys] == ["default", "extra"]
    report = await world.settle(after)
    assert ("Secret", "shop-extra") not in world.values.data
    assert [key.name for key in told(report).access_keys] == ["default"]
    assert user not in world.server.users


async def test_a_user_without_a_record_of_it_is_found_by_its_name(world: BucketWorld) -> None:
    both = [{"name": "default"}, {"name": "extra"}]
    await world.settle(bucket(accessKeys=both))
    plan, _ = await world.look(bucket())  # a status that never came to be written
    assert RemoveChild("Secret", "shop-extra") in plan.steps
    await world.settle(bucket())
    assert [name.rpartition("-")[2] for name in world.server.users] == ["default"]


def ended(report: Report, *true: str) -> BucketStatus:
    """Its status after a pass over this spec that left these conditions true."""
    conditions = tuple(
        Condition(
            type=kind,
            status="True" if kind in true else "False",
            reason="Any",
            observed_generation=1,
        )
        for kind in ("Ready", "Synced")
    )
    return told(report).model_copy(update={"observed_generation": 1, "conditions": conditions})


@pytest.mark.parametrize("true", [("Ready",), ("Synced",)])
async def test_a_key_whose_removal_failed_is_revoked_later(
    world: BucketWorld, true: tuple[str, ...]
) -> None:
    both = [{"name": "default"}, {"name": "extra"}]
    report = await world.settle(bucket(accessKeys=both))
    await world.settle(bucket(was=ended(report, *true)))
    assert [name.rpartition("-")[2] for name in world.server.users] == ["default"]


async def test_settled_it_lists_no_users_of_others(world: BucketWorld) -> None:
    report = await world.settle(bucket())
    settled = ended(report, "Ready", "Synced")
    world.s3.fail_next("list_users", RetryableError("not asked for"))
    plan, report = await world.look(bucket(was=settled))
    assert (plan, report.ready) == (Plan(), True)
    world.server.users.clear()
    assert (await world.settle(bucket(was=settled))).ready
    assert world.opens(world.secret())


HARM: list[Any] = [
    pytest.param(lambda w: w.server.users.clear(), id="user deleted"),
    pytest.param(lambda w: w.user().keys.clear(), id="key deleted"),
    pytest.param(
        lambda w: w.user().keys.update(dict.fromkeys(w.user().keys, False)), id="key switched off"
    ),
    pytest.param(lambda w: w.user().set_key("STRANGE00000000000AA", "s"), id="another key"),
    pytest.param(lambda w: w.user().set_key(*list(w.user().keys), "odd"), id="another secret"),
    pytest.param(lambda w: w.user().policies.update(access="{}"), id="policy changed"),
    pytest.param(lambda w: w.user().policies.update(more="{}"), id="policy added"),
    pytest.param(lambda w: _forget(w, "shop-default"), id="Secret deleted"),
    pytest.param(
        lambda w: w.values.data[("Secret", "shop-default")].update({"secret-key": b"mine"}),
        id="Secret's key changed",
    ),
    pytest.param(
        lambda w: w.values.data[("Secret", "shop-default")].update(endpoint=b"http://evil"),
        id="Secret's endpoint changed",
    ),
    pytest.param(
        lambda w: w.values.data[("Secret", "shop-default")].pop("secret-key"), id="key left out"
    ),
]


def _forget(world: BucketWorld, name: str) -> None:
    del world.children[("Secret", name)], world.values.data[("Secret", name)]


@pytest.mark.parametrize("harm", HARM)
async def test_a_key_that_others_spoilt_is_mended(world: BucketWorld, harm: Any) -> None:
    await world.settle(bucket())
    policy = dict(world.user().policies)
    harm(world)
    report = await world.settle(bucket())
    assert report.ready
    secret = world.secret()
    assert world.opens(secret)
    assert list(world.user().keys) == [secret["access-key"]]
    assert world.user().policies == policy
    assert secret["endpoint"] == "http://s3:8333"


async def test_a_server_that_chooses_keys_itself_stalls_it(world: BucketWorld) -> None:
    world.server.chooses_keys = True
    with pytest.raises(TerminalError):
        await world.settle(bucket())
    report = await world.settle(bucket(accessKeys=[]))
    assert (report.ready, told(report).secret_ref) == (True, None)
