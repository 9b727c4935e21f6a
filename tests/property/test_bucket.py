"""From any history of edits, harm and faults, a Bucket settles where its spec says.

The oracle reads the fake server and the spec, and knows nothing of plans.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from controlplane.errors import ControlPlaneError, DriverUnavailableError, RetryableError
from drivers.fake.engine import CrashError
from drivers.fake.s3 import FakeBucket, FakeUser, allowed
from drivers.s3 import BucketState
from resources.bucket import Bucket, BucketStatus
from tests.unit.reconcilers.buckets import MARK, NAME, BucketWorld, bucket, told

KEYS = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from(["default", "reader", "in"]),
            "access": st.sampled_from(["read", "write", "readwrite"]),
            "prefix": st.sampled_from(["", "in/"]),
            "rotation": st.integers(0, 2),
        }
    ),
    max_size=3,
    unique_by=lambda key: key["name"],
)
EDITS = st.one_of(
    st.tuples(st.just("versioning"), st.booleans()),
    st.tuples(st.just("publicRead"), st.booleans()),
    st.tuples(st.just("quota"), st.sampled_from([None, "1Mi", "2500Ki"])),
    st.tuples(st.just("tags"), st.sampled_from([{}, {"a": "b"}, {"a": "c", "d": "e"}])),
    st.tuples(st.just("cors"), st.sampled_from([[], [{"origins": ["*"]}]])),
    st.tuples(st.just("lifecycle"), st.sampled_from([[], [{"name": "tmp", "expireDays": 2}]])),
    st.tuples(st.just("accessKeys"), KEYS),
)
VERBS = st.sampled_from(
    ["observe_bucket", "ensure_bucket", "ensure_tags", "ensure_user", "ensure_key", "delete_key"]
)
HARM: dict[str, dict[str, Any]] = {
    "policy": {"policy": '{"Statement":[]}'},
    "versioning": {"versioning": "Suspended"},
    "tags": {"tags": (("x", "y"),)},
}
KEY_HARM: dict[str, Callable[[FakeUser], None]] = {
    "off": lambda user: user.keys.update(dict.fromkeys(user.keys, False)),
    "more": lambda user: user.set_key("STRANGE0000000000000", "s"),
    "policy": lambda user: user.policies.update(more="{}"),
}


class BucketMachine(RuleBasedStateMachine):
    """One record, its server, and everyone who interferes."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.world = BucketWorld()
        self.spec: dict[str, Any] = {}
        self.status = BucketStatus()
        self.holds = 0
        self.theirs = FakeBucket(BucketState("theirs", tags=(("bunker.cloud/owner", "them"),)))
        self.world.server.buckets["theirs"] = self.theirs
        self.world.server.users["bunker-theirs"] = FakeUser({"access": "{}"})

    def teardown(self) -> None:
        assert self.world.server.buckets["theirs"] is self.theirs
        assert self.world.server.users["bunker-theirs"].policies == {"access": "{}"}
        self.loop.close()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def record(self, *, deleting: bool = False) -> Bucket:
        return bucket(deleting=deleting, was=self.status, **self.spec)

    def settle(self, *, deleting: bool = False) -> None:
        """Passes as the engine makes them: an error ends one, and the next begins afresh."""
        self.world.server.away = False
        for _ in range(12):
            record = self.record(deleting=deleting)
            try:
                report = self.run(self.world.settle(record))
            except (ControlPlaneError, CrashError):
                continue
            self.status = told(report)
            break
        else:
            raise AssertionError("it does not settle")
        writes = dict(self.world.s3.writes)
        plan, _ = self.run(self.world.look(self.record(deleting=deleting)))
        assert not plan.steps
        assert dict(self.world.s3.writes) == writes, "a converged pass wrote something"

    @initialize()
    def begin(self) -> None:
        self.settle()
        self.it_is_as_its_spec_says()

    @rule(edit=EDITS, look=st.booleans())
    def edit(self, edit: tuple[str, Any], look: bool) -> None:
        self.spec[edit[0]] = edit[1]
        self.look(look)

    @rule(harm=st.sampled_from(sorted(HARM)), look=st.booleans())
    def harm(self, harm: str, look: bool) -> None:
        if NAME in self.world.server.buckets:
            self.world.server.edit(NAME, **HARM[harm])
        self.look(look)

    @precondition(lambda self: NAME in self.world.server.buckets)
    @rule(look=st.booleans())
    def destroy(self, look: bool) -> None:
        del self.world.server.buckets[NAME]
        self.holds = 0
        self.look(look)

    @rule(harm=st.sampled_from(sorted(KEY_HARM)), look=st.booleans())
    def harm_a_key(self, harm: str, look: bool) -> None:
        for name, user in list(self.world.server.users.items()):
            if name != "bunker-theirs":
                KEY_HARM[harm](user)
                break
        self.look(look)

    @rule(look=st.booleans())
    def destroy_users(self, look: bool) -> None:
        users = self.world.server.users
        self.world.server.users = {"bunker-theirs": users["bunker-theirs"]}
        self.look(look)

    @precondition(lambda self: NAME in self.world.server.buckets)
    @rule()
    def store(self) -> None:
        self.world.found.objects.append("precious")
        self.holds += 1

    @rule(verb=VERBS, away=st.booleans())
    def fail(self, verb: str, away: bool) -> None:
        lost = DriverUnavailableError("s3", "away")
        self.world.s3.fail_next(verb, lost if away else RetryableError("odd"))

    @rule(changes=st.integers(1, 5), edit=EDITS)
    def crash(self, changes: int, edit: tuple[str, Any]) -> None:
        self.spec[edit[0]] = edit[1]
        self.world.s3.crash_after(changes)
        self.settle()

    @rule()
    def outage(self) -> None:
        self.world.server.away = True

    @rule()
    def again(self) -> None:
        """Deleted and made anew: what it holds is kept for the next of its name."""
        # whose mark somebody took away just before, with objects in it, is nobody's afterwards
        self.settle()
        self.settle(deleting=True)
        assert set(self.world.server.users) == {"bunker-theirs"}
        assert not [name for _, name in self.world.values.data if name.startswith("shop-")]
        self.status = BucketStatus()
        self.settle()
        self.it_is_as_its_spec_says()

    def look(self, now: bool) -> None:
        if now:
            self.it_settles()

    @rule()
    def it_settles(self) -> None:
        self.settle()
        self.it_is_as_its_spec_says()

    # -- the oracle

    def it_is_as_its_spec_says(self) -> None:
        spec = self.record().spec
        found = self.world.found
        assert len(found.objects) == self.holds, "no object is lost"
        assert (found.state.versioning == "Enabled") == spec.versioning
        assert MARK in found.state.tags
        assert dict(found.state.tags).keys() == {MARK[0], *spec.tags}
        assert ("PublicRead" in (found.state.policy or "")) == spec.public_read
        assert len(found.state.cors) == len(spec.cors)
        assert [rule.expire_days for rule in found.state.lifecycle] == [
            rule.expire_days for rule in spec.lifecycle
        ]
        mib = 0 if spec.quota is None else -(-spec.quota // 2**20)
        if spec.quota is not None or self.status.quota is not None:
            assert found.quota.quota_bytes == mib << 20
        self.its_keys_open_what_they_say()

    def its_keys_open_what_they_say(self) -> None:
        spec, server = self.record().spec, self.world.server
        assert len(server.users) == len(spec.access_keys) + 1
        for key in spec.access_keys:
            secret = self.world.secret(key.name)
            identity = secret["access-key"]
            assert self.world.opens(secret)
            assert list(self.world.user(key.name).keys) == [identity]
            policy = orjson.loads(self.world.user(key.name).policies["access"])
            assert policy["Statement"]
            here = f"arn:aws:s3:::{NAME}/{key.prefix}x"
            may = [allowed(server, identity, f"s3:{verb}Object", here) for verb in ("Get", "Put")]
            assert may == [key.access != "write", key.access != "read"]
            assert not allowed(server, identity, "s3:GetObject", "arn:aws:s3:::theirs/x")


TestBucket = BucketMachine.TestCase
