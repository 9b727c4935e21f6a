"""Bucket: how it is made, kept, handed out and removed on its server.

Over 400 lines, because one kind is asked in one place.
"""

import json
from typing import Any

import pytest

from controlplane.errors import DriverUnavailableError, RetryableError, TerminalError
from controlplane.plan import EnsureSecret, Plan, RemoveChild, Report, Wait
from drivers.fake.s3 import allowed
from drivers.s3 import QuotaState
from drivers.s3_documents import CorsRule, LifecycleRule, canonical_policy
from reconcilers._bucketsteps import (
    EnforceQuotas,
    MakeBucket,
    MakeKey,
    MakeUser,
    RemoveBucket,
    RemoveKey,
    RemoveObjects,
    RemoveUser,
    SetQuota,
    SetTags,
    SetVersioning,
)
from resources.bucket import BucketStatus
from resources.meta import Condition
from resources.quantity import parse_bytes
from tests.unit.reconcilers.buckets import MARK, NAME, WHERE, BucketWorld, bucket, told
from tests.unit.reconcilers.world import UID

ARN = f"arn:aws:s3:::{NAME}"


@pytest.fixture
def world() -> BucketWorld:
    return BucketWorld()


# --- making and keeping it -------------------------------------------------------------------


async def test_it_is_made_and_marked_then_set_up_then_handed_out(world: BucketWorld) -> None:
    plan, report = await world.look(bucket())
    assert plan == Plan((MakeBucket(WHERE, NAME), SetTags(WHERE, NAME, (MARK,))))
    assert (report.ready, report.reason) == (False, "NotCreated")
    report = await world.settle(bucket(versioning=True))
    assert (report.ready, report.reason) == (True, "Serving")
    assert world.found.state.tags == (MARK,)
    assert world.found.state.versioning == "Enabled"
    status = told(report)
    assert (status.bucket, status.endpoint) == (NAME, "http://s3:8333")
    assert [key.name for key in status.access_keys] == ["default"]
    assert status.secret_ref is not None
    assert status.secret_ref.name == "shop-default"


async def test_settled_it_changes_nothing(world: BucketWorld) -> None:
    wanted = bucket(versioning=True, publicRead=True, quota="2Mi", tags={"a": "b"})
    await world.settle(wanted)
    writes = dict(world.s3.writes)
    plan, _ = await world.look(wanted)
    assert plan == Plan()
    assert dict(world.s3.writes) == writes


async def test_its_secret_opens_it_and_tells_where(world: BucketWorld) -> None:
    await world.settle(bucket())
    secret = world.secret()
    assert world.opens(secret)
    assert secret["endpoint"] == "http://s3:8333"
    assert (secret["type"], secret["bucket"], secret["region"]) == ("s3", NAME, "here")
    uri = f"s3://{secret['access-key']}:{secret['secret-key']}@s3:8333/{NAME}"
    assert secret["uri"] == uri


EDITS: list[Any] = [
    pytest.param({"versioning": True}, {"versioning": "Enabled"}, id="versioning"),
    pytest.param(
        {"lifecycle": [{"name": "tmp", "prefix": "tmp/", "expireDays": 3}]},
        {"lifecycle": (LifecycleRule("tmp", "tmp/", expire_days=3),)},
        id="lifecycle",
    ),
    pytest.param(
        {"cors": [{"origins": ["*"], "exposeHeaders": ["ETag"]}]},
        {"cors": (CorsRule(("*",), ("GET",), (), ("ETag",)),)},
        id="cors",
    ),
    pytest.param({"tags": {"team": "web"}}, {"tags": (MARK, ("team", "web"))}, id="tags"),
    pytest.param(
        {"publicRead": True},
        {
            "policy": canonical_policy(
                {
                    "Version": "2012-10-17",
                    "Statement": {
                        "Sid": "PublicRead",
                        "Effect": "Allow",
                        "Principal": "*",
                        "Action": "s3:GetObject",
                        "Resource": f"{ARN}/*",
                    },
                }
            )
        },
        id="public",
    ),
]


@pytest.mark.parametrize(("spec", "found"), EDITS)
async def test_an_edit_there_and_back_is_as_if_it_never_was(
    world: BucketWorld, spec: dict[str, Any], found: dict[str, Any]
) -> None:
    await world.settle(bucket())
    bare = world.found.state
    await world.settle(bucket(**spec))
    assert {name: getattr(world.found.state, name) for name in found} == found
    await world.settle(bucket())
    # S3 has no way back from versioning to never having had it
    world.server.edit(NAME, versioning="Off")
    assert world.found.state == bare


@pytest.mark.parametrize(("spec", "found"), EDITS)
async def test_what_others_change_is_mended(
    world: BucketWorld, spec: dict[str, Any], found: dict[str, Any]
) -> None:
    await world.settle(bucket(**spec))
    state = world.found.state
    world.server.edit(
        NAME, versioning="Suspended", policy="{}", lifecycle=(), cors=(), tags=(("x", "y"),)
    )
    await world.settle(bucket(was=BucketStatus(bucket=NAME), **spec))
    if state.versioning == "Off":
        world.server.edit(NAME, versioning="Off")
    assert world.found.state == state


async def test_a_policy_is_compared_by_meaning(world: BucketWorld) -> None:
    statement = {
        "Effect": "Deny",
        "Principal": {"AWS": ["*"]},
        "Action": "s3:DeleteObject",
        "Resource": [f"{ARN}/kept/*"],
    }
    wanted = bucket(policy=json.dumps({"Statement": [statement]}))
    await world.settle(wanted)
    other = {**statement, "Principal": "*", "Action": ["s3:DeleteObject"]}
    text = json.dumps({"Statement": [other], "Version": "2012-10-17"}, indent=2)
    assert await _changes(world, bucket(policy=text)) == ()


async def _changes(world: BucketWorld, wanted: Any) -> tuple[Any, ...]:
    plan, _ = await world.look(wanted)
    return plan.steps


async def test_a_bucket_deleted_behind_its_back_is_made_anew(world: BucketWorld) -> None:
    await world.settle(bucket())
    del world.server.buckets[NAME]
    report = await world.settle(bucket())
    assert report.ready
    assert world.found.state.tags == (MARK,)


# --- whose it is -----------------------------------------------------------------------------


async def test_anothers_bucket_is_left_alone_and_told_without_a_name(world: BucketWorld) -> None:
    world.add(("bunker.cloud/owner", "other-uid/their-record"))
    plan, report = await world.look(bucket())
    assert plan.wait is not None
    assert plan.wait.reason == report.reason == "BucketTaken"
    assert "their-record" not in plan.wait.message


async def test_an_unmarked_bucket_with_objects_is_not_taken(world: BucketWorld) -> None:
    world.add(objects=1)
    plan, _ = await world.look(bucket())
    assert plan.wait is not None
    assert plan.wait.reason == "BucketTaken"


async def test_an_unmarked_empty_bucket_is_taken(world: BucketWorld) -> None:
    world.add()
    assert (await world.settle(bucket())).ready


async def test_an_administrators_tag_hands_it_over(world: BucketWorld) -> None:
    world.add(("bunker.cloud/owner", "old/one"), ("bunker.cloud/adopt", "shop/shop"), objects=3)
    assert (await world.settle(bucket())).ready
    assert world.found.state.tags == (MARK,)
    assert len(world.found.objects) == 3


async def test_the_next_record_of_its_name_finds_a_retained_one(world: BucketWorld) -> None:
    await world.settle(bucket())
    world.found.objects.append("x")
    await world.settle(bucket(deleting=True))
    assert world.server.users == {}
    assert not any(name.startswith("shop-") for _, name in world.values.data)
    assert (await world.settle(bucket())).ready
    assert world.found.objects == ["x"]


# --- its keys --------------------------------------------------------------------------------


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


# --- quota, and what a server lacks ------------------------------------------------------------


async def test_a_quota_is_set_enforced_and_taken_off(world: BucketWorld) -> None:
    report = await world.settle(bucket(quota="1500Ki"))
    assert told(report).quota == parse_bytes("2Mi")
    assert report.recheck_after_s == 60
    world.found.quota = QuotaState(3 << 20, 2 << 20)
    plan, _ = await world.look(bucket(quota="1500Ki"))
    assert plan == Plan((EnforceQuotas(WHERE),))
    report = await world.settle(bucket(quota="1500Ki"))
    assert _closed(world)
    assert told(report).used == parse_bytes("3Mi")
    without = bucket(was=told(report))
    plan, _ = await world.look(without)
    assert plan == Plan((SetQuota(WHERE, NAME, 0),))
    report = await world.settle(without)
    assert not _closed(world)
    assert told(await world.settle(bucket(was=told(report)))).quota is None


def _closed(world: BucketWorld) -> bool:
    return world.found.closed


async def test_what_the_server_lacks_is_told_and_the_rest_is_done(world: BucketWorld) -> None:
    world.server.lacks = frozenset({"cors", "lifecycle"})
    wanted = bucket(versioning=True, cors=[{"origins": ["*"]}])
    report = await world.settle(wanted)
    (supported,) = report.conditions
    assert (supported.status, supported.reason) == ("False", "NotSupported")
    assert "cors" in supported.message
    assert "lifecycle" not in supported.message
    assert report.ready
    assert world.found.state.versioning == "Enabled"


async def test_an_external_server_has_no_quota(world: BucketWorld) -> None:
    where = "https://s3.example.org:443"
    world.serve({"s3": where}, address=where, containerId="")
    report = await world.settle(bucket(quota="1Gi"))
    (supported,) = report.conditions
    assert "quota" in supported.message
    assert told(report).endpoint == where
    assert world.secret()["endpoint"] == where


# --- servers that don't serve ------------------------------------------------------------------


async def test_it_waits_for_its_service(world: BucketWorld) -> None:
    world.serve({})
    plan, report = await world.look(bucket())
    wait = Wait("ServiceNotReady", "Platform 's3' is not ready: it starts", 10.0)
    assert plan == Plan(wait=wait)
    assert report.reason == "ServiceNotReady"


async def test_a_service_without_credentials_is_told(world: BucketWorld) -> None:
    del world.values.data[("Secret", "s3-credentials")]["secret-key"]
    with pytest.raises(RetryableError) as told_:
        await world.look(bucket())
    assert told_.value.reason == "ServiceCredentialsMissing"


@pytest.mark.parametrize(
    ("fault", "error"), [("away", DriverUnavailableError), ("garbage", RetryableError)]
)
async def test_a_server_in_trouble_is_an_error_and_no_plan(
    world: BucketWorld, fault: str, error: type[Exception]
) -> None:
    await world.settle(bucket())
    setattr(world.server, fault, True)
    with pytest.raises(error):
        await world.look(bucket())


async def test_a_crash_after_any_change_ends_the_same_way(world: BucketWorld) -> None:
    from drivers.fake.engine import CrashError

    wanted = bucket(versioning=True, quota="1Mi", accessKeys=[{"name": "a"}, {"name": "b"}])
    for changes in range(1, 12):
        made = BucketWorld()
        made.s3.crash_after(changes)
        try:
            await made.settle(wanted)
        except CrashError:
            await made.settle(wanted)
        assert sorted(name.rpartition("-")[2] for name in made.server.users) == ["a", "b"]
        assert [len(user.keys) for user in made.server.users.values()] == [1, 1]
        assert all(made.opens(made.secret(key)) for key in ("a", "b"))


# --- its end -----------------------------------------------------------------------------------


async def test_retained_it_keeps_its_objects_and_loses_its_keys(world: BucketWorld) -> None:
    await world.settle(bucket())
    world.found.objects.append("x")
    await world.settle(bucket(deleting=True))
    plan, _ = await world.look(bucket(deleting=True))
    assert plan == Plan()
    assert world.found.objects == ["x"]
    assert world.server.users == {}


async def test_an_empty_one_is_removed_with_its_keys(world: BucketWorld) -> None:
    gone = bucket(deleting=True, deletionPolicy="Delete")
    await world.settle(bucket())
    plan, _ = await world.look(gone)
    assert plan == Plan((RemoveBucket(WHERE, NAME),))
    await world.settle(gone)
    assert (world.server.buckets, world.server.users) == ({}, {})
    assert (await world.look(gone))[0] == Plan()


async def test_one_with_objects_waits_and_its_keys_still_open_it(world: BucketWorld) -> None:
    gone = bucket(deleting=True, deletionPolicy="Delete")
    await world.settle(bucket())
    world.found.objects += ["a", "b"]
    world.found.uploads.append("c")
    report = await world.settle(gone)
    assert report.reason == "BucketNotEmpty"
    assert "2 objects" in report.message
    assert "1 unfinished uploads" in report.message
    assert world.opens(world.secret())


async def test_forced_it_goes_with_its_objects(world: BucketWorld) -> None:
    gone = bucket(deleting=True, deletionPolicy="Delete", forceDelete=True)
    await world.settle(bucket())
    world.found.objects += ["a"] * 2500
    plan, _ = await world.look(gone)
    assert plan == Plan((RemoveObjects(WHERE, NAME), RemoveBucket(WHERE, NAME)))
    await world.settle(gone)
    assert world.server.buckets == {}


async def test_anothers_bucket_is_not_removed(world: BucketWorld) -> None:
    world.add(("bunker.cloud/owner", "other"))
    gone = bucket(deleting=True, deletionPolicy="Delete", forceDelete=True)
    await world.settle(gone)
    assert NAME in world.server.buckets


async def test_retained_it_goes_when_its_server_is_no_more(world: BucketWorld) -> None:
    del world.services["s3"]
    assert (await world.look(bucket(deleting=True)))[0] == Plan()
    plan, _ = await world.look(bucket(deleting=True, deletionPolicy="Delete"))
    assert plan.wait is not None
    assert plan.wait.reason == "ServiceNotReady"


async def test_policies_come_before_users_in_a_plan(world: BucketWorld) -> None:
    """What a crash leaves is found by the user: it is made first, and goes last."""
    await world.settle(bucket(accessKeys=[]))
    plan, _ = await world.look(bucket())
    assert [type(step) for step in plan.steps] == [MakeUser, EnsureSecret, MakeKey]
    assert not any(isinstance(step, SetVersioning) for step in plan.steps)
