"""A Model on the real llama.cpp: fetched, pinned, served with its key, healed, and gone again."""

import asyncio
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from tests.e2e.cloud import Cloud, Json, condition, eventually
from tests.e2e.conftest import make_namespace
from tests.e2e.test_bucket import S3, bucket
from tests.support.files import Files, file_server
from tests.support.gguf import tiny_gguf

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(240)]
HOST = "172.17.0.1"
"""The engine's own bridge: the host, as every container reaches it."""


@dataclass
class Shop:
    """A file server, and its tiny model."""

    files: Files
    data: bytes

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.files.port}/tiny.gguf"

    @property
    def digest(self) -> str:
        return f"sha256:{hashlib.sha256(self.data).hexdigest()}"


@contextmanager
def in_thread() -> Iterator[Files]:
    """The file server, beside tests that block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    context = file_server(host="0.0.0.0")
    try:
        yield asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result(10)
    finally:
        asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@pytest.fixture
def shop() -> Iterator[Shop]:
    with in_thread() as files:
        found = Shop(files, tiny_gguf())
        files.files["/tiny.gguf"] = found.data
        yield found


def model(namespace: str, source: Json, name: str = "chat", **spec: Any) -> Json:
    small = {"resources": {"cpu": "500m", "memory": "256Mi"}, "storage": "16Mi"}
    return {
        "apiVersion": "bunker.cloud/v1",
        "kind": "Model",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"source": source, "contextLength": 256, "publish": {}, **small, **spec},
    }


def ask(record: Json, key: str, path: str, body: Json) -> tuple[int, str, list[bytes]]:
    """POST to its published endpoint: status, content type, and the chunks as they came."""

    async def go() -> tuple[int, str, list[bytes]]:
        url = f"http://{record['status']['published']}/v1/{path}"
        headers = {"Authorization": f"Bearer {key}"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, json=body, headers=headers) as answer,
        ):
            chunks = [chunk async for chunk in answer.content.iter_any()]
            return answer.status, answer.content_type, chunks

    return asyncio.run(go())


def answer(record: Json, key: str, path: str, body: Json) -> Any:
    status, _, chunks = ask(record, key, path, body)
    assert status == 200, chunks
    return json.loads(b"".join(chunks))


def reason(cloud: Cloud, namespace: str, kind: str = "Ready", name: str = "chat") -> str:
    return str(condition(cloud.get("model", name, namespace) or {}, kind).get("reason"))


def test_a_model_is_fetched_with_progress_served_with_its_key_and_freed(
    cloud: Cloud, namespace: str, shop: Shop
) -> None:
    shop.files.pause_s, shop.files.chunk = 0.4, 20_000  # 14 pieces: some 5 s
    cloud.apply(model(namespace, {"url": shop.url}, digest=shop.digest))

    def progress() -> set[str]:
        found = cloud.get("model", "chat", namespace) or {}
        seen.add(str(found.get("status", {}).get("progress")))
        return seen & {f"{percent}%" for percent in range(1, 100)}

    seen: set[str] = set()
    eventually(progress, within_s=60, what="progress")
    record = cloud.wait_ready("model", "chat", namespace, within_s=60)
    status = record["status"]
    assert (status["phase"], status["progress"], status["digest"]) == (
        "Ready",
        "100%",
        shop.digest,
    )
    secret = cloud.secret(status["secretRef"]["name"], namespace)
    assert secret["uri"] == "http://chat:8080/v1"
    key = secret["token"]

    body = {"model": "chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 8}
    assert answer(record, key, "chat/completions", body)["choices"][0]["message"]["content"]
    kind = ask(record, key, "chat/completions", {**body, "stream": True, "max_tokens": 64})
    assert kind[:2] == (200, "text/event-stream")
    assert b"".join(kind[2]).endswith(b"data: [DONE]\n\n")
    # an event for each piece; how many come in one read is up to the speed of the model
    assert b"".join(kind[2]).count(b"data: {") > 1
    done = answer(record, key, "completions", {"model": "chat", "prompt": "a", "max_tokens": 2})
    assert done["choices"][0]["finish_reason"] == "length"
    vectors = answer(record, key, "embeddings", {"model": "chat", "input": ["one", "two"]})
    assert [len(item["embedding"]) for item in vectors["data"]] == [64, 64]
    assert ask(record, "wrong", "chat/completions", body)[0] == 401
    assert ask(record, key, "chat/completions", {**body, "model": "other"})[0] == 404

    rotated = {"stringData": {"token": "another"}}
    cloud.kubectl(
        *("patch", "secret", status["secretRef"]["name"], "-n", namespace),
        *("--type=merge", f"--patch={json.dumps(rotated)}"),
    )
    eventually(
        lambda: ask(record, "another", "chat/completions", body)[0] == 200,
        within_s=10,
        what="the new key counts",
    )
    assert ask(record, key, "chat/completions", body)[0] == 401

    uid = record["metadata"]["uid"]
    volume = status["volume"]
    cloud.kubectl("delete", "model", "chat", "-n", namespace, "--timeout=60s")
    eventually(lambda: not cloud.leftovers(uid), within_s=10, what="nothing left")
    eventually(lambda: cloud.get("volume", volume) is None, within_s=20, what="its disk is free")
    eventually(
        lambda: cloud.get("secret", "chat-credentials", namespace) is None,
        within_s=20,
        what="its Secret is gone",
    )


def test_a_wrong_digest_stalls_it_and_the_right_one_mends_it(
    cloud: Cloud, namespace: str, shop: Shop
) -> None:
    wrong = "sha256:" + "0" * 64
    cloud.apply(model(namespace, {"url": shop.url}, digest=wrong))
    eventually(
        lambda: reason(cloud, namespace, "Stalled") == "DigestMismatch", within_s=60, what="stalled"
    )
    record = cloud.get("model", "chat", namespace) or {}
    message = condition(record, "Stalled")["message"]
    assert wrong in message
    assert shop.digest in message
    assert condition(record, "Ready")["status"] == "False"
    cloud.apply(model(namespace, {"url": shop.url}, digest=shop.digest))
    cloud.wait_ready("model", "chat", namespace, within_s=60)


def test_what_others_do_to_it_is_mended(cloud: Cloud, namespace: str, shop: Shop) -> None:
    cloud.apply(model(namespace, {"url": shop.url}, keepAlive="always"))
    record = cloud.wait_ready("model", "chat", namespace, within_s=60)
    name = record["status"]["container"]
    with cloud.engine() as engine:
        engine.containers.get(name).kill()
    cloud.wait_ready("model", "chat", namespace, within_s=30)
    fetched = shop.files.sent
    with cloud.engine() as engine:
        # the file, behind its back
        engine.containers.get(name).exec_run(["sh", "-c", "echo x >> /data/model.gguf"])
        engine.containers.get(name).restart(timeout=1)
    eventually(lambda: shop.files.sent > fetched, within_s=60, what="it is fetched again")
    record = cloud.wait_ready("model", "chat", namespace, within_s=60)
    assert record["status"]["digest"] == shop.digest
    assert record["status"]["loaded"] is True


def test_a_model_of_the_platforms_ollama_is_served_by_a_gateway(
    cloud: Cloud, namespace: str, shop: Shop
) -> None:
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": shop.digest}
    manifest = {"schemaVersion": 2, "layers": [{**layer, "size": len(shop.data)}]}
    shop.files.files["/v2/models/tiny/manifests/1"] = json.dumps(manifest).encode()
    shop.files.files[f"/v2/models/tiny/blobs/{shop.digest}"] = shop.data
    cloud.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "platform"}})
    service: Json = {"service": "models", "storage": "64Mi", "deletionPolicy": "Delete"}
    service["resources"] = {"cpu": "500m", "memory": "512Mi"}
    service["settings"] = {"registries": f"{HOST}:{shop.files.port}"}
    cloud.apply(
        {
            "apiVersion": "bunker.cloud/v1",
            "kind": "Platform",
            "metadata": {"name": "models", "namespace": "platform"},
            "spec": service,
        }
    )
    source = {"name": f"{HOST}:{shop.files.port}/models/tiny:1", "plainHttp": True}
    gateway = {"cpu": "50m", "memory": "96Mi"}
    wanted = model(namespace, source, engine="ollama", resources=gateway, keepAlive="always")
    del wanted["spec"]["contextLength"]
    cloud.apply(wanted)
    record = cloud.wait_ready("model", "chat", namespace, within_s=90)
    assert record["status"]["digest"] == shop.digest
    assert record["status"]["loaded"] is True
    key = cloud.secret("chat-credentials", namespace)["token"]
    body = {"model": "chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 8}
    assert answer(record, key, "chat/completions", body)["choices"]
    assert ask(record, "wrong", "chat/completions", body)[0] == 401
    platform = cloud.get("platform", "models", "platform") or {}
    url = f"http://{platform['status']['endpoints']['api']}/api"
    # behind its back: out of memory, then off the server
    names = [each["name"] for each in fetch(f"{url}/tags")["models"]]
    assert len(names) == 1
    fetch(f"{url}/delete", "DELETE", {"model": names[0]})
    eventually(lambda: fetch(f"{url}/ps")["models"], within_s=90, what="it is fetched again")
    cloud.kubectl("delete", "model", "chat", "-n", namespace, "--timeout=60s")
    assert fetch(f"{url}/tags")["models"] == []
    cloud.kubectl("delete", "platform", "models", "-n", "platform", "--timeout=60s")


def fetch(url: str, method: str = "GET", body: Json | None = None) -> Any:
    async def go() -> Any:
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, url, json=body) as answer,
        ):
            assert answer.status == 200
            text = await answer.text()
            return json.loads(text) if text else {}

    return asyncio.run(go())


def test_a_fetch_goes_on_while_the_control_plane_is_dead(private_cloud: Cloud, shop: Shop) -> None:
    make_namespace(private_cloud, "crash")
    shop.files.pause_s, shop.files.chunk = 0.5, 20_000  # 14 pieces: some 7 s
    private_cloud.apply(model("crash", {"url": shop.url}, digest=shop.digest))
    eventually(lambda: shop.files.sent > 40_000, within_s=60, what="it is being fetched")
    private_cloud.kill()
    eventually(lambda: shop.files.sent == len(shop.data), within_s=30, what="it goes on")
    private_cloud.start()
    private_cloud.wait_ready("model", "chat", "crash", within_s=60)
    assert shop.files.sent == len(shop.data)  # once
    private_cloud.kubectl("delete", "model", "chat", "-n", "crash", "--timeout=60s")


def test_a_missing_file_says_so_and_works_once_it_is_there(
    cloud: Cloud, namespace: str, shop: Shop
) -> None:
    shop.files.files.clear()
    cloud.apply(model(namespace, {"url": shop.url}))
    eventually(
        lambda: reason(cloud, namespace) == "SourceMissing", within_s=60, what="what is missing"
    )
    shop.files.files["/tiny.gguf"] = shop.data
    cloud.wait_ready("model", "chat", namespace, within_s=60)


@pytest.fixture
def storage(cloud: Cloud) -> Iterator[S3]:
    """The platform's S3 server."""
    make_namespace(cloud, "platform")
    spec = {"service": "s3", "storage": "1Gi", "deletionPolicy": "Delete"}
    meta = {"name": "s3", "namespace": "platform"}
    cloud.apply(
        {"apiVersion": "bunker.cloud/v1", "kind": "Platform", "metadata": meta, "spec": spec}
    )
    cloud.wait_ready("platform", "s3", "platform", within_s=90)
    yield S3(cloud)
    cloud.kubectl("delete", "platform", "s3", "-n", "platform", "--timeout=60s")


def test_a_model_is_fetched_from_a_bucket(cloud: Cloud, namespace: str, storage: S3) -> None:
    data = tiny_gguf()
    cloud.apply(model(namespace, {"bucketRef": {"name": "files", "key": "a b/tiny.gguf"}}))
    cloud.apply(bucket("files", namespace, deletionPolicy="Delete", forceDelete=True))
    record = cloud.wait_ready("bucket", "files", namespace, within_s=60)
    secret = cloud.secret(record["status"]["secretRef"]["name"], namespace)
    name = record["status"]["bucket"]
    eventually(
        lambda: reason(cloud, namespace) == "SourceMissing", within_s=60, what="what is missing"
    )
    storage.client(secret).put_object(Bucket=name, Key="a b/tiny.gguf", Body=data)
    found = cloud.wait_ready("model", "chat", namespace, within_s=60)
    assert found["status"]["digest"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
    for kind, each in (("model", "chat"), ("bucket", "files")):
        cloud.kubectl("delete", kind, each, "-n", namespace, "--timeout=60s")
