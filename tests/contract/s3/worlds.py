"""The same S3 server twice: a fake, and SeaweedFS in our own image."""

import base64
import os
import uuid
from dataclasses import replace
from typing import Any, Literal, Protocol

from drivers.fake.s3 import FakeS3, FakeS3Server, allowed
from drivers.s3 import S3, BucketState, S3Quotas, S3Server
from drivers.s3_documents import policy_of
from drivers.s3_network import NetworkS3
from drivers.s3_sdk import S3Refusal
from drivers.s3_shell import ShellQuotas
from tests.containers import Running, wait_until
from tests.contract.s3.ageing import aged

ADMIN, SECRET = "BKADMIN0", "first-Secret_1"
KEY, KEY_SECRET = "BK0123456789ABCDEF00", "a-Secret_with-odd_characters_0123456789x"
SAVED = "/tmp/metadata"
Did = Literal["get", "put", "delete", "list"]


class World(Protocol):
    """A server with nothing of the name `bucket`."""

    driver: S3
    quotas: S3Quotas
    server: S3Server
    container: str
    bucket: str

    def put(self, key: str, versions: int = 1) -> None:
        """Somebody stores an object, so many times."""
        ...

    def fill(self, mib: int) -> None:
        """Somebody stores so much, and the server has noticed."""
        ...

    def upload(self, key: str) -> None:
        """Somebody begins an upload in parts, and leaves it."""
        ...

    def age(self) -> None:
        """What is in it has been there for three days."""
        ...

    def may(self, did: Did, key: str, *, bucket: str = "") -> bool:
        """Whether the user with KEY may do that."""
        ...

    def stop_key(self, user: str) -> None:
        """Somebody switches KEY off."""
        ...


class FakeWorld:
    container = "c0ffee"

    def __init__(self) -> None:
        self.bucket = f"b-{uuid.uuid4().hex[:12]}"
        self.server = S3Server("http://10.0.0.2:8333", ADMIN, SECRET)
        self.fake = FakeS3Server(ADMIN, SECRET, self.container)
        fakes = FakeS3({self.server.endpoint: self.fake})
        self.driver: S3 = fakes
        self.quotas: S3Quotas = fakes

    def put(self, key: str, versions: int = 1) -> None:
        self.fake.buckets[self.bucket].objects += [key] * versions

    def fill(self, mib: int) -> None:
        bucket = self.fake.buckets[self.bucket]
        bucket.quota = replace(bucket.quota, used_bytes=mib << 20)

    def upload(self, key: str) -> None:
        self.fake.buckets[self.bucket].uploads.append(key)

    def age(self) -> None:
        bucket = self.fake.buckets[self.bucket]
        bucket.old |= {*bucket.objects, *bucket.uploads}

    def may(self, did: Did, key: str, *, bucket: str = "") -> bool:
        name = bucket or self.bucket
        if did == "list":
            return allowed(self.fake, KEY, "s3:ListBucket", f"arn:aws:s3:::{name}")
        if did == "put" and self.fake.buckets[name].closed:
            return False
        action = f"s3:{did.title()}Object"
        return allowed(self.fake, KEY, action, f"arn:aws:s3:::{name}/{key}")

    def stop_key(self, user: str) -> None:
        self.fake.users[user].keys[KEY] = False


class ShellOnly:
    """Of the container runtime, what quotas need: the engine's own client."""

    async def exec_container(
        self,
        container_id: str,
        argv: tuple[str, ...],
        /,
        *,
        stdin: bytes = b"",
        timeout_s: float,
        apart: bool = False,
    ) -> tuple[int, str]:
        both = ("sh", "-c", f"exec {' '.join(argv)} 2>&1")
        return 0, Running(container_id).exec(*both, stdin=stdin.decode(), check=False)


class RealWorld:
    def __init__(self, running: Running) -> None:
        self.bucket = f"b-{uuid.uuid4().hex[:12]}"
        self.container = running.id
        self.server = S3Server(f"http://{running.address}:8333", ADMIN, SECRET)
        self.real = NetworkS3()
        self.driver: S3 = self.real
        shell: Any = ShellOnly()
        self.quotas: S3Quotas = ShellQuotas(shell)

    def _raw(self, operation: str, server: S3Server | None = None, **params: Any) -> Any:
        return self.real._calls.call("s3", server or self.server, operation, **params)

    def put(self, key: str, versions: int = 1) -> None:
        for number in range(versions):
            self._raw("put_object", Bucket=self.bucket, Key=key, Body=str(number).encode())

    def fill(self, mib: int) -> None:
        self._raw("put_object", Bucket=self.bucket, Key="full", Body=os.urandom(mib << 20))
        running = Running(self.container)
        line = f"{self.bucket}\tsize:{mib}"
        shell = ("sh", "-c", "echo s3.bucket.list | weed-shell 2>&1")
        wait_until(lambda: line in running.exec(*shell), of=running)

    def upload(self, key: str) -> None:
        self._raw("create_multipart_upload", Bucket=self.bucket, Key=key)

    def age(self) -> None:
        self._shell(f"fs.meta.save -o {SAVED} /buckets/{self.bucket}")
        running = Running(self.container)
        saved = base64.b64decode(running.exec("base64", SAVED))
        older = base64.b64encode(aged(saved, 3 * 86_400)).decode()
        running.exec("sh", "-c", f"base64 -d >{SAVED}", stdin=older)
        # twice: it ends, and the shell with it, before its last entry is written
        self._shell(f"fs.meta.load {SAVED}\nfs.meta.load {SAVED}")

    def _shell(self, commands: str) -> None:
        shell = ("sh", "-c", "weed-shell 2>&1")
        said = Running(self.container).exec(*shell, stdin=f"{commands}\n")
        assert "error:" not in said, said

    def may(self, did: Did, key: str, *, bucket: str = "") -> bool:
        user = replace(self.server, access_key=KEY, secret_key=KEY_SECRET)
        params: dict[str, Any] = {"Bucket": bucket or self.bucket}
        operation = {"list": "list_objects_v2"}.get(did, f"{did}_object")
        params |= {"Prefix": key} if did == "list" else {"Key": key}
        params |= {"Body": b"x"} if did == "put" else {}
        try:
            self._raw(operation, user, **params)
        except S3Refusal as exc:
            if exc.status not in (403, 404, 500):  # 500: closed by its quota
                raise
            return exc.status == 404
        return True

    def stop_key(self, user: str) -> None:
        off = {"UserName": user, "AccessKeyId": KEY, "Status": "Inactive"}
        self.real._calls.call("iam", self.server, "update_access_key", **off)


async def state_of(world: World) -> BucketState:
    state = await world.driver.observe_bucket(world.server, world.bucket)
    assert state is not None
    return state


async def make_bucket(world: World) -> None:
    await world.driver.ensure_bucket(world.server, world.bucket)


def allowing(world: World, *actions: str, prefix: str = "") -> str:
    """What a key with these object actions may do; listing goes with reading."""
    statements: list[dict[str, Any]] = [
        {
            "Effect": "Allow",
            "Action": [f"s3:{action}" for action in actions],
            "Resource": f"arn:aws:s3:::{world.bucket}/{prefix}*",
        }
    ]
    if "GetObject" in actions:
        listing = {"Action": "s3:ListBucket", "Resource": f"arn:aws:s3:::{world.bucket}"}
        statements.append({"Effect": "Allow", **listing})
    return policy_of(*statements)


async def make_user(world: World, policy: str) -> str:
    """The name of a user who has KEY."""
    user = f"bunker-{uuid.uuid4().hex}"
    await world.driver.ensure_user(world.server, user, policy)
    await world.driver.ensure_key(world.server, user, KEY, KEY_SECRET)
    return user
