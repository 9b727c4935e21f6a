"""What a Bucket accepts and refuses, and that each refusal says how to write it."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from resources.bucket import Bucket
from resources.meta import STORED

ARN = "arn:aws:s3:::shop-assets"


def bucket(name: str = "assets", /, **spec: Any) -> Bucket:
    meta = {"name": name, "namespace": "shop"}
    return Bucket.model_validate({"kind": "Bucket", "metadata": meta, "spec": spec})


def policy(resource: Any = f"{ARN}/*", **changes: Any) -> str:
    statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject"}
    return json.dumps({"Statement": [{**statement, "Resource": resource, **changes}]})


USER = "arn:aws:iam::000000000000:user/"
ROLE = "arn:aws:iam::000000000000:role/"
TLS_ALONE = policy(
    [ARN, f"{ARN}/*"],
    Effect="Deny",
    Action="s3:*",
    Condition={"Bool": {"aws:SecureTransport": "false"}},
)
"""AWS recommends it. A server without TLS takes it, and lets nobody in any more, whoever it is."""


def denied(principal: Any, action: Any = "s3:*", **more: Any) -> str:
    both = [ARN, f"{ARN}/*"]
    return policy(both, Effect="Deny", Principal=principal, Action=action, **more)


DEEP: Any = []
for _ in range(300):
    DEEP = [DEEP]

REFUSED = [
    pytest.param({"bucketName": "No"}, "3 to 63 lower case", id="name"),
    pytest.param({"bucketName": "a.b.c"}, "digits and '-'", id="dots"),
    pytest.param({"quota": "1Ki"}, "1Mi", id="tiny quota"),
    pytest.param({"lifecycle": [{"name": "x"}]}, "set expireDays", id="idle rule"),
    pytest.param({"lifecycle": [{"name": "x", "expireDays": 0}]}, "greater", id="no days"),
    pytest.param({"cors": [{"origins": []}]}, "at least 1", id="no origin"),
    pytest.param({"cors": [{"origins": ["*"], "methods": ["PATCH"]}]}, "'GET'", id="method"),
    pytest.param({"accessKeys": [{"name": "a" * 21}]}, "20", id="long key"),
    pytest.param({"accessKeys": [{"name": "a"}, {"name": "a"}]}, "twice", id="key twice"),
    pytest.param({"accessKeys": [{"name": "a", "prefix": "/x"}]}, "leading '/'", id="slash"),
    pytest.param({"accessKeys": [{"name": "a", "prefix": "${aws:x}"}]}, "prefix", id="variable"),
    pytest.param({"accessKeys": [{"name": "a", "prefix": "*"}]}, "prefix", id="wildcard"),
    pytest.param({"accessKeys": [{"name": "a", "access": "admin"}]}, "'read'", id="access"),
    pytest.param({"tags": {"bunker.cloud/owner": "me"}}, "platform's own", id="owner tag"),
    pytest.param({"tags": {"a": "b\n"}}, "tag", id="newline"),
    pytest.param({"tags": {"": "b"}}, "empty key", id="tag without a name"),
    pytest.param({"policy": "{"}, "no JSON", id="no JSON"),
    pytest.param({"policy": "[]"}, "list of statements", id="no statements"),
    pytest.param({"policy": policy(Effect="Maybe")}, "Allow or Deny", id="effect"),
    pytest.param({"policy": policy(Principal="")}, "Principal", id="principal"),
    pytest.param({"policy": policy("arn:aws:s3:::other/*")}, f"write '{ARN}'", id="other bucket"),
    pytest.param({"policy": policy(f"{ARN}-more/*")}, f"write '{ARN}'", id="name that begins so"),
    pytest.param({"policy": policy("*")}, f"write '{ARN}'", id="everything"),
    pytest.param({"policy": policy([f"{ARN}/*", None])}, f"write '{ARN}'", id="one of two"),
    pytest.param({"policy": "[" * 30_000}, "no JSON", id="too deep"),
    pytest.param({"policy": policy(Sid="\ud800")}, "no JSON", id="half a letter"),
    pytest.param({"policy": policy(Condition="x")}, "Condition", id="condition"),
    pytest.param({"policy": policy(Condition={"Bool": "x"})}, "Condition", id="condition's test"),
    pytest.param({"policy": policy(Sid=DEEP)}, "nested", id="deep"),
]


@pytest.mark.parametrize(("spec", "fix"), REFUSED)
def test_what_is_wrong_is_refused_with_the_fix(spec: dict[str, Any], fix: str) -> None:
    with pytest.raises(ValidationError, match=fix.replace("'", ".")):
        bucket(**spec)


def test_its_name_on_the_server_is_its_own_and_fits() -> None:
    assert bucket().bucket_name == "shop-assets"
    assert bucket(bucketName="other").bucket_name == "other"
    long, longer = bucket("a" * 60).bucket_name, bucket("a" * 61).bucket_name
    assert len(long) <= 63 >= len(longer)
    assert long != longer
    claim, server = bucket(server="far").claims
    assert (claim.scope, claim.name) == ("bucket", "far/shop-assets")
    assert (server.scope, server.name, server.of) == ("network", "far in shop", "Platform/far")
    assert bucket(server="far").services == ("far",)


def test_a_policy_about_itself_is_accepted() -> None:
    assert bucket(policy=policy([ARN, f"{ARN}/a/*"])).spec.policy


SHUTS_OUT = {
    "only by TLS": TLS_ALONE,
    "all": denied("*"),
    "all but an object": policy(f"{ARN}/*", Effect="Deny", Action="s3:*", NotResource=f"{ARN}/x"),
    "all, said by what not": policy([], Effect="Deny", Action="s3:*", NotResource=f"{ARN}/x"),
    "all AWS": denied({"AWS": ["*"]}),
    "a wildcard": denied(USER + "*"),
    "any role": denied(ROLE + "*"),
    "a variable": denied(USER + "${aws:username}"),
    "services": denied({"Service": "*"}),
    "its administrator": denied(USER + "bunker-admin"),
    "a user and all": denied([USER + "web", "*"]),
    "all there is": denied("*", "*"),
    "list": denied("*", "s3:ListBucket"),
    "any case": denied("*", "S3:listbucket"),
    "one of two": denied("*", ["s3:DeleteBucket", "s3:PutBucketPolicy"]),
    "a star": denied("*", "s3:Get*"),
    "stars": denied("*", "s3:*Bucket*ing"),
    "question marks": denied("*", "s3:?etBucketCors"),
    "uploads": denied("*", "s3:PutObject"),
    "an action's variable": denied("*", "s3:${aws:username}"),
    "no action": denied("*", [1]),
    "all but": denied("*", "s3:DeleteBucket", NotAction=["s3:Get*", "s3:List*"]),
}


@pytest.mark.parametrize("text", SHUTS_OUT.values(), ids=SHUTS_OUT)
def test_a_policy_that_shuts_the_platform_out_is_refused_with_the_fix(text: str) -> None:
    (wrong,) = bucket(policy=text).check_new({})
    assert wrong.field == "spec.policy"
    assert f"deny its objects ('{ARN}/*')" in wrong.message


TAKEN = {
    "objects": policy(f"{ARN}/*", Effect="Deny", Action="s3:*"),
    "objects without TLS": TLS_ALONE.replace(f'"{ARN}", ', ""),
    "a user": denied(USER + "web"),
    "users": denied({"AWS": [USER + "web", USER + "mail"]}),
    "a role": denied({"AWS": ROLE + "web"}),
    "removal": denied("*", "s3:DeleteBucket"),
    "access lists": denied("*", ["s3:PutBucketAcl", "s3:DeleteBucket*ite"]),
    "stars": denied("*", "s3:*Acl"),
    "question marks": denied("*", "s3:ListBucket?"),
    "too few": denied("*", "s3:ListBucke"),
    "all but": denied("*", "s3:DeleteBucket", NotAction=["s3:Get*", "s3:List*", "s3:P*", "*:D*"]),
}


@pytest.mark.parametrize("text", TAKEN.values(), ids=TAKEN)
def test_a_denial_that_leaves_the_platform_in_is_accepted(text: str) -> None:
    assert bucket(policy=text).check_new({}) == ()


def test_a_policy_from_before_hinders_nothing_until_it_changes() -> None:
    shut = bucket(policy=TLS_ALONE)
    assert shut.check_new({"spec": {"policy": TLS_ALONE}}) == ()
    others: list[dict[str, Any]] = [{}, {"spec": {}}, {"spec": {"policy": denied("*")}}]
    for stored in others:
        assert [each.field for each in shut.check_new(stored)] == ["spec.policy"]


def test_a_long_policy_is_judged_at_once() -> None:
    """In time that grows with its length: these would keep a backtracking match for years."""
    stars = denied("*", ["s3:" + "*?" * 12 + f"{n}" for n in range(500)] + ["*t" * 5_000])
    assert bucket(policy=stars).check_new({}) == ()


def test_a_stored_denial_is_read() -> None:
    """Else a record from before the rule could not even be deleted."""
    meta = {"name": "assets", "namespace": "shop"}
    obj = {"kind": "Bucket", "metadata": meta, "spec": {"policy": TLS_ALONE}}
    assert Bucket.model_validate(obj, context=STORED).spec.policy == TLS_ALONE


def test_where_it_is_may_not_change() -> None:
    errors = bucket(server="b", bucketName="new").check_update(bucket())
    assert [error.field for error in errors] == ["spec.server", "spec.bucketName"]
    assert bucket(bucketName="shop-assets", versioning=True).check_update(bucket()) == ()
