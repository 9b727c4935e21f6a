"""Buckets on a real S3 server, as tenants have them: made, used, harmed, handed on, removed."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from botocore.exceptions import ClientError

from reconcilers._images import service_image
from reconcilers._service_s3 import COMMAND, identities
from tests.containers import bench, docker, wait_until
from tests.e2e.cloud import Cloud, Json, condition, eventually
from tests.e2e.conftest import make_namespace
from tests.e2e.records import app
from tests.support.s3 import s3_client

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(300)]
API = "bunker.cloud/v1"


def bucket(name: str, namespace: str, **spec: Any) -> Json:
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": API, "kind": "Bucket", "metadata": meta, "spec": spec}


class S3:
    """The server, as its administrator or with the key of a Secret."""

    def __init__(self, cloud: Cloud, url: str = "") -> None:
        self.cloud = cloud
        self.url = url
        if not url:
            platform = cloud.get("platform", "s3", "platform")
            assert platform is not None
            self.url = f"http://{platform['status']['endpoints']['s3']}"

    def client(self, secret: dict[str, str] | None = None, service: str = "s3") -> Any:
        login = secret or self.cloud.secret("s3-credentials", "platform")
        return s3_client(self.url, login, service)

    def put(self, secret: dict[str, str] | None, bucket: str, key: str = "a") -> None:
        self.client(secret).put_object(Bucket=bucket, Key=key, Body=b"hello")


def refused(call: Callable[[], Any]) -> bool:
    try:
        call()
    except ClientError as exc:
        return int(exc.response["ResponseMetadata"]["HTTPStatusCode"]) == 403
    return False


@pytest.fixture(scope="module")
def s3(cloud: Cloud) -> Iterator[S3]:
    make_namespace(cloud, "platform")
    meta = {"name": "s3", "namespace": "platform"}
    spec = {"service": "s3", "storage": "1Gi", "deletionPolicy": "Delete"}
    cloud.apply({"apiVersion": API, "kind": "Platform", "metadata": meta, "spec": spec})
    cloud.wait_ready("platform", "s3", "platform", within_s=90)
    yield S3(cloud)
    cloud.kubectl("delete", "platform", "s3", "-n", "platform", "--timeout=60s")


def touch(cloud: Cloud, name: str, namespace: str) -> None:
    """A server tells nobody what is done to it: have the record looked at now."""
    cloud.kubectl("annotate", "bucket", name, "-n", namespace, "seen=yes")
    cloud.kubectl("annotate", "bucket", name, "-n", namespace, "seen-")


def test_a_bucket_is_used_with_its_secret(cloud: Cloud, namespace: str, s3: S3) -> None:
    wanted = bucket("assets", namespace, versioning=True, deletionPolicy="Delete")
    cloud.apply(wanted)
    record = cloud.wait_ready("bucket", "assets", namespace)
    secret = cloud.secret(record["status"]["secretRef"]["name"], namespace)
    name = record["status"]["bucket"]
    assert (name, secret["bucket"]) == (f"{namespace}-assets", name)
    assert (secret["type"], secret["endpoint"]) == ("s3", "http://s3:8333")
    s3.put(secret, name)
    got = s3.client(secret).get_object(Bucket=name, Key="a")["Body"].read()
    assert got == b"hello"
    assert "Enabled" in str(s3.client().get_bucket_versioning(Bucket=name))
    before = record["metadata"]["resourceVersion"]
    cloud.apply(wanted)
    again = cloud.get("bucket", "assets", namespace)
    assert again is not None
    assert again["metadata"]["resourceVersion"] == before
    cloud.kubectl("delete", "bucket", "assets", "-n", namespace, "--wait=false")
    held = eventually(lambda: _why(cloud, "assets", namespace), within_s=20, what="a reason")
    assert "still holds 1 objects" in held
    patch = '{"spec": {"forceDelete": true}}'
    cloud.kubectl("patch", "bucket", "assets", "-n", namespace, "--type=merge", "-p", patch)
    cloud.wait_gone("bucket", "assets", namespace)
    with pytest.raises(ClientError):
        s3.client().head_bucket(Bucket=name)
    assert refused(lambda: s3.client(secret).list_objects_v2(Bucket=name))


def _why(cloud: Cloud, name: str, namespace: str) -> str:
    record = cloud.get("bucket", name, namespace)
    ready = condition(record, "Ready") if record else {}
    return str(ready["message"]) if ready.get("reason") == "BucketNotEmpty" else ""


def test_what_is_done_behind_its_back_is_mended(cloud: Cloud, namespace: str, s3: S3) -> None:
    wanted = bucket("site", namespace, publicRead=True, versioning=True, deletionPolicy="Delete")
    wanted["spec"] |= {"tags": {"team": "web"}, "forceDelete": True}
    cloud.apply(wanted)
    record = cloud.wait_ready("bucket", "site", namespace)
    name = record["status"]["bucket"]
    secret = cloud.secret("site-default", namespace)
    admin, iam = s3.client(), s3.client(service="iam")
    policy = admin.get_bucket_policy(Bucket=name)["Policy"]
    (user,) = (
        u["UserName"]
        for u in iam.list_users()["Users"]
        if record["metadata"]["uid"] in u["UserName"]
    )

    def harm() -> None:
        admin.delete_bucket_policy(Bucket=name)
        admin.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Suspended"})
        admin.delete_bucket_tagging(Bucket=name)
        iam.delete_access_key(UserName=user, AccessKeyId=secret["access-key"])

    def mended() -> bool:
        try:
            s3.put(secret, name)
            ok = admin.get_bucket_policy(Bucket=name)["Policy"] == policy
        except ClientError:
            return False
        return ok and "Enabled" in str(admin.get_bucket_versioning(Bucket=name))

    harm()
    touch(cloud, "site", namespace)
    eventually(mended, within_s=30, what="policy, versioning, tags and key as they were")
    for version in admin.list_object_versions(Bucket=name).get("Versions", []):
        admin.delete_object(Bucket=name, Key=version["Key"], VersionId=version["VersionId"])
    admin.delete_bucket(Bucket=name)
    iam.delete_user(UserName=user)
    touch(cloud, "site", namespace)
    eventually(mended, within_s=30, what="the bucket and its user anew")
    cloud.kubectl("delete", "bucket", "site", "-n", namespace, "--timeout=60s")


def test_keys_have_a_scope_and_are_rotated_and_revoked(
    cloud: Cloud, namespace: str, s3: S3
) -> None:
    keys: list[Json] = [{"name": "reader", "access": "read"}, {"name": "in", "prefix": "in/"}]
    wanted = bucket("drop", namespace, accessKeys=keys, deletionPolicy="Delete", forceDelete=True)
    cloud.apply(wanted)
    name = cloud.wait_ready("bucket", "drop", namespace)["status"]["bucket"]
    reader, inner = (cloud.secret(f"drop-{key}", namespace) for key in ("reader", "in"))
    assert refused(lambda: s3.put(reader, name))
    assert refused(lambda: s3.put(inner, name, "out/a"))
    s3.put(inner, name, "in/a")
    assert s3.client(reader).list_objects_v2(Bucket=name)["KeyCount"] == 1
    keys[0]["rotation"] = 1
    del keys[1]
    cloud.apply(wanted)
    cloud.wait_ready("bucket", "drop", namespace)
    cloud.wait_gone("secret", "drop-in", namespace)
    new = cloud.secret("drop-reader", namespace)
    assert new["access-key"] != reader["access-key"]
    assert new["secret-key"] != reader["secret-key"]
    assert s3.client(new).list_objects_v2(Bucket=name)["KeyCount"] == 1
    for old in (reader, inner):
        assert refused(lambda old=old: s3.client(old).list_objects_v2(Bucket=name))  # type: ignore[misc]  # bound
    cloud.kubectl("delete", "bucket", "drop", "-n", namespace, "--timeout=60s")


def test_forced_it_goes_while_somebody_writes(cloud: Cloud, namespace: str, s3: S3) -> None:
    cloud.apply(bucket("busy", namespace, deletionPolicy="Delete", forceDelete=True))
    name = cloud.wait_ready("bucket", "busy", namespace)["status"]["bucket"]
    client = s3.client(cloud.secret("busy-default", namespace))
    begun = Event()

    def write() -> str:
        """Until it is refused; how."""
        for number in range(20_000):
            try:
                client.put_object(Bucket=name, Key=str(number), Body=b"hello")
            except ClientError as exc:
                return str(exc)
            begun.set()
        return "never"

    with ThreadPoolExecutor(1) as pool:
        refusal = pool.submit(write)
        assert begun.wait(20)
        cloud.kubectl("delete", "bucket", "busy", "-n", namespace, "--timeout=60s")
        assert "PutObject" in refusal.result(timeout=20)
    with pytest.raises(ClientError):
        s3.client().head_bucket(Bucket=name)


def test_of_two_tenants_who_want_a_name_one_gets_it(cloud: Cloud, namespace: str, s3: S3) -> None:
    other = f"{namespace}-rival"
    make_namespace(cloud, other)
    spaces = (namespace, other)
    shared = {"bucketName": "wanted-by-two", "deletionPolicy": "Delete"}
    cloud.apply(*(bucket("mine", space, **shared) for space in spaces))

    def winner() -> tuple[str, ...]:
        return tuple(space for space in spaces if cloud.is_ready("bucket", "mine", space))

    (first,) = eventually(winner, within_s=30, what="one of them is Ready")
    (second,) = (space for space in spaces if space != first)
    record = cloud.get("bucket", "mine", second)
    assert record is not None
    admitted = condition(record, "Admitted")
    assert (admitted["status"], admitted["reason"]) == ("False", "NameTaken")
    assert first not in json.dumps(record["status"])
    cloud.kubectl("delete", "bucket", "mine", "-n", first, "--timeout=60s")
    cloud.wait_ready("bucket", "mine", second, within_s=30)
    cloud.kubectl("delete", "bucket", "mine", "-n", second, "--timeout=60s")
    cloud.kubectl("delete", "namespace", other, "--timeout=60s")


REACH = """
import socket, sys, urllib.request
print(urllib.request.urlopen("http://s3:8333/healthz", timeout=5).status)
for port in (8888, 18888, 9333, 19333, 8080, 18080):
    try:
        socket.create_connection(("s3", port), 2).close()
        print("open", port)
    except OSError:
        pass
"""


def test_a_tenant_reaches_the_s3_port_and_no_inner_one(
    cloud: Cloud, namespace: str, s3: S3
) -> None:
    cloud.apply(bucket("near", namespace, deletionPolicy="Delete"))
    cloud.wait_ready("bucket", "near", namespace)
    space = cloud.get("namespace", namespace)
    assert space is not None
    network = f"namespace-{namespace}-{space['metadata']['uid'][:8]}"
    options = ("--rm", "--network", network, "--label", f"bunker.cloud/instance={cloud.instance}")
    run = ("run", *options, "bunker.local/demo:1", "python3", "-c", REACH)
    said = eventually(lambda: docker(*run, check=False), within_s=20, what="a reachable s3")
    assert said == "200"
    cloud.kubectl("delete", "bucket", "near", "-n", namespace, "--timeout=60s")


def test_an_app_has_its_keys_and_once_kept_nobody_has(cloud: Cloud, namespace: str, s3: S3) -> None:
    cloud.apply(bucket("site", namespace, publicRead=True))
    cloud.wait_ready("bucket", "site", namespace)
    keys = cloud.secret("site-default", namespace)
    given = [{"secretRef": {"name": "site-default"}, "prefix": "S3_"}]
    cloud.apply(app("reader", namespace, envFrom=given))
    cloud.wait_ready("app", "reader", namespace)
    with cloud.engine() as engine:
        (reader,) = cloud.containers("reader", namespace, engine=engine)
        found = reader.exec_run(["printenv", "S3_access_key", "S3_secret_key", "S3_endpoint"])
    assert isinstance(found.output, bytes)
    assert found.output.decode().split() == [
        keys["access-key"],
        keys["secret-key"],
        "http://s3:8333",
    ]
    s3.put(keys, keys["bucket"])

    def anybody() -> int:
        try:
            with urlopen(f"{s3.url}/{keys['bucket']}/a", timeout=10) as reply:
                return int(reply.status)
        except HTTPError as error:
            return error.code

    assert anybody() == 200
    cloud.kubectl("delete", "bucket", "site", "-n", namespace, "--timeout=60s")
    assert anybody() == 403
    cloud.apply(bucket("site", namespace, deletionPolicy="Delete", forceDelete=True))
    cloud.wait_ready("bucket", "site", namespace)
    cloud.kubectl("delete", "app", "reader", "-n", namespace, "--timeout=60s")
    cloud.kubectl("delete", "bucket", "site", "-n", namespace, "--timeout=60s")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[str]:
    """An S3 server that is none of the platform's."""
    (tmp_path / "s3.json").write_text(identities("somebody", "elses-secret"))
    tmp_path.chmod(0o755)
    image = service_image("seaweedfs", source="local")
    with bench() as made:
        options = (
            f"--user={image.user}",
            "--tmpfs=/tmp",
            f"--volume={tmp_path}:/run/secrets:ro",
            f"--volume={made.volume()}:{image.data_path}",
        )
        running = made.run(image.reference, *COMMAND, options=options)
        wait_until(lambda: "bucket owner index ready" in running.logs(), of=running)
        wait_until(lambda: "added volume server" in running.logs(), of=running)
        yield f"http://{running.address}:8333"


def test_a_server_elsewhere_is_used_as_it_is(cloud: Cloud, namespace: str, elsewhere: str) -> None:
    make_namespace(cloud, "platform")
    login = {"access-key": "somebody", "secret-key": "elses-secret"}
    meta = {"name": "elses", "namespace": "platform"}
    cloud.apply({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": login})
    external = {"endpoint": elsewhere, "secretRef": {"name": "elses"}}
    spec = {"service": "s3", "external": external}
    cloud.apply({"apiVersion": API, "kind": "Platform", "metadata": meta, "spec": spec})
    wanted = bucket("far", namespace, server="elses", quota="1Gi", deletionPolicy="Delete")
    cloud.apply(wanted)
    record = cloud.wait_ready("bucket", "far", namespace)
    supported = condition(record, "Supported")
    assert (supported["status"], "quota" in supported["message"]) == ("False", True)
    secret = cloud.secret("far-default", namespace)
    assert secret["endpoint"] == elsewhere
    server = S3(cloud, elsewhere)
    server.put(secret, record["status"]["bucket"])
    server.client(secret).delete_object(Bucket=record["status"]["bucket"], Key="a")
    cloud.kubectl("delete", "bucket", "far", "-n", namespace, "--timeout=60s")
    cloud.kubectl("delete", "platform", "elses", "-n", "platform", "--timeout=60s")
    cloud.kubectl("delete", "secret", "elses", "-n", "platform", "--timeout=60s")
