"""One suite for the S3 driver on a real server (SeaweedFS in our own image) and on its fake.

Over 400 lines, because one contract is read in one place.
"""

import os
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Protocol

import pytest

from controlplane.errors import DriverUnavailableError, RetryableError, TerminalError
from drivers.fake.s3 import FakeS3, FakeS3Server, allowed
from drivers.s3 import S3, BucketState, Content, QuotaState, S3Quotas, S3Server
from drivers.s3_documents import CorsRule, LifecycleRule, policy_of
from drivers.s3_network import NetworkS3
from drivers.s3_sdk import S3Refusal
from drivers.s3_shell import ShellQuotas
from reconcilers._images import service_image
from reconcilers._service_s3 import COMMAND, ENV, identities
from tests.containers import Running, bench, wait_until
from tests.contract.silent import answering

ADMIN, SECRET = "BKADMIN0", "first-Secret_1"
KEY, KEY_SECRET = "BK0123456789ABCDEF00", "a-Secret_with-odd_characters_0123456789x"
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
        self, container_id: str, argv: tuple[str, ...], /, *, stdin: bytes = b"", timeout_s: float
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


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder: Path = tmp_path_factory.mktemp("s3")
    (folder / "s3.json").write_text(identities(ADMIN, SECRET))
    folder.chmod(0o755)
    image = service_image("seaweedfs", source="local")
    with bench() as made:
        options = (
            f"--user={image.user}",
            "--memory=512m",
            "--tmpfs=/tmp",
            f"--volume={folder}:/run/secrets:ro",
            f"--volume={made.volume()}:/data",
            *(f"--env={name}={value}" for name, value in ENV.items()),
        )
        started = made.run(image.reference, *COMMAND, options=options)
        wait_until(lambda: "added volume server" in started.logs(), of=started)
        wait_until(lambda: "bucket owner index ready" in started.logs(), of=started)
        yield started


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.docker)])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    fake = request.param == "fake"
    found: World = FakeWorld() if fake else RealWorld(request.getfixturevalue("running"))
    yield found
    await found.driver.aclose()


async def _seen(world: World) -> BucketState:
    state = await world.driver.observe_bucket(world.server, world.bucket)
    assert state is not None
    return state


async def _made(world: World) -> None:
    await world.driver.ensure_bucket(world.server, world.bucket)


# --- the server ------------------------------------------------------------------------------


async def test_a_server_takes_its_credentials(world: World) -> None:
    await world.driver.observe_server(world.server)


@pytest.mark.parametrize("wrong", [{"secret_key": "no"}, {"access_key": "NOBODY00"}])
async def test_wrong_credentials_are_told_as_such(world: World, wrong: dict[str, str]) -> None:
    other = replace(world.server, **wrong)
    with pytest.raises(RetryableError) as told:
        await world.driver.observe_server(other)
    assert told.value.reason == "AccessRefused"
    with pytest.raises(RetryableError) as told:
        await world.driver.list_users(other, "x")
    assert told.value.reason == "AccessRefused"


async def test_where_nobody_listens_the_driver_is_unavailable(world: World) -> None:
    nowhere = replace(world.server, endpoint="http://127.0.0.1:1")
    with pytest.raises(DriverUnavailableError):
        await world.driver.observe_bucket(nowhere, world.bucket)


# --- buckets ---------------------------------------------------------------------------------


async def test_an_absent_bucket_is_none_and_empty_and_may_be_deleted(world: World) -> None:
    assert await world.driver.observe_bucket(world.server, world.bucket) is None
    found = await world.driver.observe_content(world.server, world.bucket, limit=5)
    assert found == Content(0, 0, more=False)
    assert await world.driver.delete_content(world.server, world.bucket, limit=5) == 0
    await world.driver.delete_bucket(world.server, world.bucket)


async def test_a_bucket_is_made_once_and_is_bare(world: World) -> None:
    await _made(world)
    await _made(world)
    assert await _seen(world) == BucketState(world.bucket)


async def test_versioning_goes_on_and_off(world: World) -> None:
    await _made(world)
    await world.driver.ensure_versioning(world.server, world.bucket, enabled=True)
    assert (await _seen(world)).versioning == "Enabled"
    await world.driver.ensure_versioning(world.server, world.bucket, enabled=False)
    assert (await _seen(world)).versioning == "Suspended"


async def test_a_policy_is_read_back_with_the_same_meaning(world: World) -> None:
    await _made(world)
    policy = policy_of(
        {
            "Sid": "PublicRead",
            "Effect": "Allow",
            "Principal": "*",
            "Action": ["s3:GetObject"],
            "Resource": f"arn:aws:s3:::{world.bucket}/public/*",
        }
    )
    await world.driver.ensure_policy(world.server, world.bucket, policy)
    assert (await _seen(world)).policy == policy
    for _ in range(2):
        await world.driver.ensure_policy(world.server, world.bucket, None)
    assert (await _seen(world)).policy is None


async def test_a_policy_about_something_else_is_refused(world: World) -> None:
    await _made(world)
    alien = policy_of(
        {
            "Effect": "Allow",
            "Principal": "*",
            "Action": "s3:GetObject",
            "Resource": "arn:aws:s3:::z/*",
        }
    )
    with pytest.raises(TerminalError) as told:
        await world.driver.ensure_policy(world.server, world.bucket, alien)
    assert told.value.reason == "Refused"


async def test_lifecycle_rules_are_read_back(world: World) -> None:
    await _made(world)
    rules = (
        LifecycleRule("all", abort_upload_days=2),
        LifecycleRule("old", "old/", noncurrent_days=30, enabled=False),
        LifecycleRule("tmp", "tmp/", expire_days=3, noncurrent_days=5, abort_upload_days=1),
    )
    await world.driver.ensure_lifecycle(world.server, world.bucket, rules)
    assert (await _seen(world)).lifecycle == rules
    for _ in range(2):
        await world.driver.ensure_lifecycle(world.server, world.bucket, ())
    assert (await _seen(world)).lifecycle == ()


async def test_cors_rules_are_read_back_in_order(world: World) -> None:
    await _made(world)
    rules = (
        CorsRule(("https://shop.test",), ("GET", "PUT"), ("*",), ("ETag",), 600),
        CorsRule(("*",), ("GET",)),
    )
    await world.driver.ensure_cors(world.server, world.bucket, rules)
    assert (await _seen(world)).cors == rules
    for _ in range(2):
        await world.driver.ensure_cors(world.server, world.bucket, ())
    assert (await _seen(world)).cors == ()


async def test_tags_are_read_back(world: World) -> None:
    await _made(world)
    tags = (("bunker.cloud/owner", "0f8-1/shop"), ("team", "a b"))
    await world.driver.ensure_tags(world.server, world.bucket, tags)
    assert (await _seen(world)).tags == tags
    for _ in range(2):
        await world.driver.ensure_tags(world.server, world.bucket, ())
    assert (await _seen(world)).tags == ()


async def test_content_is_counted_up_to_a_limit(world: World) -> None:
    await _made(world)
    for number in range(3):
        world.put(f"k/{number}")
    world.upload("big")
    count = world.driver.observe_content
    assert await count(world.server, world.bucket, limit=10) == Content(3, 1, more=False)
    assert await count(world.server, world.bucket, limit=2) == Content(2, 1, more=True)


async def test_a_bucket_with_anything_in_it_is_not_deleted(world: World) -> None:
    await _made(world)
    world.put("a")
    with pytest.raises(RetryableError) as told:
        await world.driver.delete_bucket(world.server, world.bucket)
    assert told.value.reason == "BucketNotEmpty"
    assert await world.driver.observe_bucket(world.server, world.bucket) is not None


async def test_an_unfinished_upload_keeps_a_bucket(world: World) -> None:
    await _made(world)
    world.upload("big")
    with pytest.raises(RetryableError) as told:
        await world.driver.delete_bucket(world.server, world.bucket)
    assert told.value.reason == "BucketNotEmpty"


async def test_emptying_takes_versions_and_uploads_in_bites(world: World) -> None:
    await _made(world)
    await world.driver.ensure_versioning(world.server, world.bucket, enabled=True)
    world.put("dir/a b+c", versions=3)
    world.put("ü")
    world.upload("up/load")
    assert await world.driver.delete_content(world.server, world.bucket, limit=2) == 2
    assert await world.driver.delete_content(world.server, world.bucket, limit=100) == 3
    found = await world.driver.observe_content(world.server, world.bucket, limit=9)
    assert found.empty
    await world.driver.delete_bucket(world.server, world.bucket)
    assert await world.driver.observe_bucket(world.server, world.bucket) is None


# --- users and keys --------------------------------------------------------------------------


def _policy(world: World, *actions: str, prefix: str = "") -> str:
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


async def _key(world: World, policy: str) -> str:
    """The name of a user who has KEY."""
    user = f"bunker-{uuid.uuid4().hex}"
    await world.driver.ensure_user(world.server, user, policy)
    await world.driver.ensure_key(world.server, user, KEY, KEY_SECRET)
    return user


async def _try(world: World) -> str:
    mine = replace(world.server, access_key=KEY, secret_key=KEY_SECRET)
    return await world.driver.observe_key(mine, world.bucket)


@pytest.fixture
async def user(world: World) -> AsyncIterator[str]:
    """A user with KEY who may read and write; gone afterwards, as KEY is but one."""
    await _made(world)
    name = await _key(world, _policy(world, "GetObject", "PutObject", "DeleteObject"))
    yield name
    await world.driver.delete_user(world.server, name)


async def test_a_user_is_read_back_with_policy_and_key(world: World, user: str) -> None:
    state = await world.driver.observe_user(world.server, user)
    assert state is not None
    assert state.policy == _policy(world, "GetObject", "PutObject", "DeleteObject")
    assert (state.keys, state.extra_policies) == (((KEY, True),), ())
    assert await world.driver.list_users(world.server, user[:12]) == (user,)
    assert await world.driver.observe_user(world.server, "bunker-nobody") is None


async def test_a_key_opens_its_bucket_and_no_other(world: World, user: str) -> None:
    await world.driver.ensure_bucket(world.server, f"{world.bucket}-other")
    world.put("a")
    dids: tuple[Did, ...] = ("put", "get", "list", "delete")
    assert [world.may(did, "a") for did in dids] == [True] * 4
    assert not any(world.may(did, "a", bucket=f"{world.bucket}-other") for did in dids)


async def test_a_policy_narrowed_is_narrowed_at_once(world: World, user: str) -> None:
    world.put("a")
    await world.driver.ensure_user(world.server, user, _policy(world, "GetObject"))
    assert [world.may("get", "a"), world.may("put", "a")] == [True, False]
    await world.driver.ensure_user(world.server, user, _policy(world, "PutObject", prefix="in/"))
    assert [world.may("put", "in/a"), world.may("put", "a"), world.may("get", "a")] == [
        True,
        False,
        False,
    ]


async def test_a_key_is_tried_with_its_secret(world: World, user: str) -> None:
    assert await _try(world) == "valid"
    await world.driver.ensure_key(world.server, user, KEY, "another-Secret_0123456789")
    assert await _try(world) == "refused"
    await world.driver.ensure_key(world.server, user, KEY, KEY_SECRET)
    assert await _try(world) == "valid"


async def test_a_key_switched_off_shows_and_is_mended(world: World, user: str) -> None:
    world.stop_key(user)
    state = await world.driver.observe_user(world.server, user)
    assert state is not None
    assert state.keys == ((KEY, False),)
    assert await _try(world) == "refused"
    await world.driver.ensure_key(world.server, user, KEY, KEY_SECRET)
    assert await _try(world) == "valid"


async def test_a_deleted_key_opens_nothing(world: World, user: str) -> None:
    for _ in range(2):
        await world.driver.delete_key(world.server, user, KEY)
    assert await _try(world) == "refused"
    for _ in range(2):
        await world.driver.delete_user(world.server, user)
    assert await world.driver.observe_user(world.server, user) is None


async def test_a_users_key_cannot_manage(world: World, user: str) -> None:
    mine = replace(world.server, access_key=KEY, secret_key=KEY_SECRET)
    driver, name = world.driver, world.bucket
    with pytest.raises(RetryableError) as told:
        await driver.ensure_tags(mine, name, (("bunker.cloud/owner", "me"),))
    assert told.value.reason == "AccessRefused"
    with pytest.raises(RetryableError):
        await driver.ensure_policy(mine, name, _policy(world, "GetObject"))
    with pytest.raises(RetryableError):
        await driver.ensure_user(mine, user, _policy(world, "GetObject"))


# --- quotas ----------------------------------------------------------------------------------


async def test_a_quota_is_set_in_whole_mib_and_taken_off(world: World) -> None:
    await _made(world)
    await world.quotas.ensure_quota(world.container, world.bucket, (2 << 20) - 5)
    found = await world.quotas.list_quotas(world.container)
    assert found[world.bucket] == QuotaState(0, 2 << 20)
    await world.quotas.ensure_enforced(world.container)
    await world.quotas.ensure_quota(world.container, world.bucket, 0)
    assert (await world.quotas.list_quotas(world.container))[world.bucket].quota_bytes == 0


async def test_a_bucket_over_its_quota_is_closed_for_writes_when_told(
    world: World, user: str
) -> None:
    await world.quotas.ensure_quota(world.container, world.bucket, 2 << 20)
    world.fill(3)
    found = (await world.quotas.list_quotas(world.container))[world.bucket]
    assert found.used_bytes >= 3 << 20
    assert found.due
    await world.quotas.ensure_enforced(world.container)
    assert not (await world.quotas.list_quotas(world.container))[world.bucket].due
    assert not world.may("put", "more")
    await world.quotas.ensure_quota(world.container, world.bucket, 0)
    assert world.may("put", "more")


async def test_an_older_list_of_quotas_knows_what_was_set_since(world: World) -> None:
    await _made(world)
    before = await world.quotas.list_quotas(world.container, max_age_s=300)
    assert before[world.bucket].quota_bytes == 0
    await world.quotas.ensure_quota(world.container, world.bucket, 2 << 20)
    after = await world.quotas.list_quotas(world.container, max_age_s=300)
    assert after[world.bucket].quota_bytes == 2 << 20


async def test_a_quota_of_no_bucket_is_refused(world: World) -> None:
    with pytest.raises(RetryableError) as told:
        await world.quotas.ensure_quota(world.container, world.bucket, 1 << 20)
    assert told.value.reason == "ShellRefused"


# --- what isn't a server, or an odd one --------------------------------------------------------


def _http(status: str, body: bytes, kind: str = "application/xml") -> bytes:
    about = f"content-type: {kind}\r\ncontent-length: {len(body)}\r\nconnection: close"
    return f"HTTP/1.1 {status}\r\n{about}\r\n\r\n".encode() + body


ODD = [
    pytest.param(_http("200 OK", b"<html><p>hello</html>", "text/html"), "BadAnswer", id="a page"),
    pytest.param(_http("200 OK", b"\x00\x01 not xml"), "BadAnswer", id="no XML"),
    pytest.param(_http("503 Slow Down", b""), "ServerError", id="overloaded"),
    pytest.param(
        _http("200 OK", b"<Error><Code>InternalError</Code></Error>"),
        "ServerError",
        id="200, error",
    ),
    pytest.param(_http("403 Forbidden", b""), "AccessRefused", id="forbidden"),
]


@pytest.mark.parametrize(("answer", "reason"), ODD)
async def test_an_odd_answer_is_told_by_its_kind(answer: bytes, reason: str) -> None:
    driver = NetworkS3()
    async with answering(answer) as port:
        with pytest.raises(RetryableError) as told:
            await driver.observe_server(S3Server(f"http://127.0.0.1:{port}", "K", "s"))
    await driver.aclose()
    assert told.value.reason == reason


async def test_a_server_that_chooses_keys_itself_is_told_apart() -> None:
    body = (
        b"<CreateAccessKeyResponse><CreateAccessKeyResult><AccessKey><UserName>u</UserName>"
        b"<AccessKeyId>AKIAOTHERAKIAOTHER00</AccessKeyId><Status>Active</Status><SecretAccessKey>s"
        b"</SecretAccessKey></AccessKey></CreateAccessKeyResult></CreateAccessKeyResponse>"
    )
    driver = NetworkS3()
    async with answering(_http("200 OK", body)) as port:
        with pytest.raises(TerminalError) as told:
            await driver.ensure_key(S3Server(f"http://127.0.0.1:{port}", "K", "s"), "u", KEY, "s")
    await driver.aclose()
    assert told.value.reason == "NotSupported"


@pytest.mark.docker
async def test_the_servers_inner_ports_are_closed(running: Running) -> None:
    """Whoever reaches the filer or the gateway's gRPC could make identities."""
    listening = running.exec("cat", "/proc/net/tcp", "/proc/net/tcp6").splitlines()
    opened = {line.split()[1] for line in listening if " 0A " in line}
    wide = {int(a.split(":")[1], 16) for a in opened if not a.startswith("0100007F")}
    assert wide == {8333, 18333}
    refused = running.exec(
        "sh", "-c", "sleep 1 | openssl s_client -connect 127.0.0.1:18333 -alpn h2 2>&1; true"
    )
    assert "alert certificate required" in refused
