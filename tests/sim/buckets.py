"""What an S3 server must hold for a Bucket, told from its spec alone."""

from typing import Any

import orjson

from controlplane.records import Key
from drivers.fake.s3 import allowed
from resources.meta import Record
from tests.sim.snapshot import opened
from tests.support.platform import Platform

POLICY = orjson.dumps(
    {
        "Statement": [
            {
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:DeleteObject",
                "Resource": "arn:aws:s3:::shop-assets/kept/*",
            }
        ]
    }
).decode()
VALUES: dict[str, tuple[Any, ...]] = {
    "policy": (POLICY,),
    "tags": ({"team": "web"}, {"team": "web", "tier": "two"}, {}),
    "lifecycle": (
        [{"name": "tmp", "prefix": "tmp/", "expireDays": 3}],
        [{"name": "old", "noncurrentDays": 9}, {"name": "up", "abortUploadDays": 1}],
    ),
    "accessKeys": (
        [{"name": "default", "rotation": 1}],
        [{"name": "default", "access": "read"}, {"name": "extra", "prefix": "in/"}],
        [],
    ),
}


def bucket_world(platform: Platform, record: Record) -> None:
    spec: Any = getattr(record, "spec", None)
    server = platform.s3.anywhere
    assert server is not None
    name = spec.bucket_name or f"{record.metadata.namespace}-{record.metadata.name}"
    found = server.buckets[name]
    state = found.state
    assert (state.versioning == "Enabled") == spec.versioning
    assert len(state.lifecycle) == len(spec.lifecycle)
    assert {(r.id, r.prefix, r.expire_days) for r in state.lifecycle} == {
        (r.name, r.prefix, r.expire_days or 0) for r in spec.lifecycle
    }
    assert [rule.origins for rule in state.cors] == [rule.origins for rule in spec.cors]
    tags = dict(state.tags)
    assert tags.pop("bunker.cloud/owner").endswith(f"/{record.metadata.name}")
    assert tags == spec.tags
    statements = orjson.loads(state.policy)["Statement"] if state.policy else []
    public = [each for each in statements if each.get("Sid") == "PublicRead"]
    own = orjson.loads(spec.policy)["Statement"] if spec.policy else []
    assert (len(public), len(statements) - len(public)) == (int(spec.public_read), len(own))
    mib = -(-(spec.quota or 0) // 2**20)
    assert found.quota.quota_bytes == mib * 2**20
    _its_keys(platform, record, name)


def _its_keys(platform: Platform, record: Record, bucket: str) -> None:
    spec: Any = getattr(record, "spec", None)
    server = platform.s3.anywhere
    assert server is not None
    mine = {name: user for name, user in server.users.items() if record.metadata.uid in name}
    assert {name.rpartition(record.metadata.uid)[2] for name in mine} == {
        f"-{key.name}" for key in spec.access_keys
    }
    for key in spec.access_keys:
        place = Key("Secret", record.metadata.namespace, f"{record.metadata.name}-{key.name}")
        secret = opened(platform.get(place).obj)
        identity = secret["access-key"]
        (user,) = (user for name, user in mine.items() if name.endswith(f"-{key.name}"))
        assert list(user.keys) == [identity], "one key, that of the Secret"
        assert server.secret_of(identity) == secret["secret-key"]
        inside = f"arn:aws:s3:::{bucket}/{key.prefix}x"
        may = [allowed(server, identity, f"s3:{verb}Object", inside) for verb in ("Get", "Put")]
        assert may == [key.access != "write", key.access != "read"]
        assert not allowed(server, identity, "s3:GetObject", f"arn:aws:s3:::{bucket}-other/x")
