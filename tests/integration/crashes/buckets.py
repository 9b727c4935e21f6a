"""What an S3 server holds: buckets with all that is set on them, objects, users and their keys."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from drivers.s3_shell import LIST, SHELL
from tests.containers import docker
from tests.integration.crashes.holding import At, Holding
from tests.support.s3 import s3_client

SETTINGS: Final = {
    "get_bucket_versioning": "Status",
    "get_bucket_policy": "Policy",
    "get_bucket_lifecycle_configuration": "Rules",
    "get_bucket_cors": "CORSRules",
    "get_bucket_tagging": "TagSet",
}
"""What is set on a bucket: how to ask, and where in the answer it is."""
TRIES: Final = 10


def buckets(at: At) -> Holding:
    """Raises OSError where it doesn't answer."""
    try:
        s3, iam = (client(at, service) for service in ("s3", "iam"))
        names = [each["Name"] for each in s3.list_buckets()["Buckets"]]
        objects = {name: sorted(_objects(s3, name)) for name in names}
        users = {name: dict(_user(iam, name)) for name in _users(iam)}
    except (BotoCoreError, ClientError) as exc:
        raise OSError(str(exc)) from exc
    things = {f"bucket[{name}" for name in names} | {f"user[{name}" for name in users}
    things |= {f"object[{name} {each}" for name in names for each in objects[name]}
    things |= {f"access key[{name} {key}" for name in users for key in users[name]["keys"]}

    def tree() -> Mapping[str, Any]:
        quotas = _quotas(at, names)
        return {
            "buckets": {
                name: {
                    **{ask: _setting(s3, ask, name) for ask in SETTINGS},
                    "objects": [key for key, _ in objects[name]],
                    "quota": quotas[name],
                }
                for name in names
            },
            "users": users,
        }

    return Holding(frozenset(things), tree)


def client(at: At, service: str = "s3") -> Any:
    """As its administrator."""
    return _client(at.address, at.login["access-key"], at.login["secret-key"], service)


@lru_cache(maxsize=64)
def _client(address: str, access_key: str, secret_key: str, service: str) -> Any:
    login = {"access-key": access_key, "secret-key": secret_key}
    return s3_client(f"http://{address}:8333", login, service)


def _setting(s3: Any, ask: str, bucket: str) -> Any:
    try:
        found = getattr(s3, ask)(Bucket=bucket).get(SETTINGS[ask])
    except ClientError as exc:
        if exc.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return None
        raise
    if ask == "get_bucket_tagging":
        return sorted([each["Key"], each["Value"]] for each in found)
    return json.loads(found) if ask == "get_bucket_policy" else found


def _objects(s3: Any, bucket: str) -> Iterator[tuple[str, str]]:
    """(name, version) of each."""
    found = s3.list_object_versions(Bucket=bucket)
    for each in (*found.get("Versions", ()), *found.get("DeleteMarkers", ())):
        yield each["Key"], each.get("VersionId") or ""


def _users(iam: Any) -> list[str]:
    return [each["UserName"] for each in iam.list_users()["Users"]]


def _user(iam: Any, name: str) -> Iterator[tuple[str, Any]]:
    keys = iam.list_access_keys(UserName=name)["AccessKeyMetadata"]
    yield "keys", sorted(each["AccessKeyId"] for each in keys)
    policies = iam.list_user_policies(UserName=name)["PolicyNames"]
    ask = iam.get_user_policy
    yield (
        "policies",
        {each: ask(UserName=name, PolicyName=each)["PolicyDocument"] for each in policies},
    )


def _quotas(at: At, names: Iterable[str]) -> dict[str, list[str]]:
    """By bucket: the words of its line in the shell's list that speak of its quota. The shell of a
    busy server may fail, and must not be read as one without quotas. Raises OSError."""
    for _ in range(TRIES):
        said = docker("exec", "-i", at.state.id, *SHELL, stdin=f"{LIST}\n", check=False)
        lines = {words[0]: words for words in map(str.split, said.splitlines()) if words}
        if all(name in lines for name in names):
            return {name: [word for word in lines[name] if "quota:" in word] for name in names}
        time.sleep(1)
    raise OSError(f"its shell does not list all of {names}")
