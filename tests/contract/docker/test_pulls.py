"""Pulls from a registry that takes its time, by a real engine."""

import asyncio
import hashlib
import io
import json
import tarfile
import uuid
from contextlib import aclosing

import pytest
from aiohttp import web
from docker import APIClient

from controlplane.errors import RetryableError, UnderWayError
from drivers import docker_sdk
from drivers.containers import ImageState
from drivers.docker import DockerContainers
from drivers.docker_calls import DockerConfig
from drivers.docker_images import PULLS
from tests.support.files import serving

pytestmark = pytest.mark.docker
GIVE_UP_S = 60.0


class Registry:
    """One image of one layer, which is sent once `go` is set."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        layer = _layer()
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
            }
        ).encode()
        kind = "application/vnd.docker."
        self.manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": f"{kind}distribution.manifest.v2+json",
                "config": _described(f"{kind}container.image.v1+json", config),
                "layers": [_described(f"{kind}image.rootfs.diff.tar", layer)],
            }
        ).encode()
        self.blobs = {_digest(config): config, _digest(layer): layer}
        self.layer = _digest(layer)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/v2/", self._here)
        app.router.add_get("/v2/slow/manifests/{reference}", self._manifest)
        app.router.add_get("/v2/slow/blobs/{digest}", self._blob)
        app.router.add_get("/v2/absent/manifests/{reference}", self._absent)
        return app

    async def _here(self, _: web.Request) -> web.Response:
        return web.json_response({})

    async def _absent(self, _: web.Request) -> web.Response:
        """As registries say it: https://distribution.github.io/distribution/spec/api/#errors."""
        return web.json_response({"errors": [{"code": "MANIFEST_UNKNOWN"}]}, status=404)

    async def _manifest(self, _: web.Request) -> web.Response:
        kind = "application/vnd.docker.distribution.manifest.v2+json"
        return web.Response(body=self.manifest, content_type=kind)

    async def _blob(self, request: web.Request) -> web.Response:
        digest = request.match_info["digest"]
        if digest == self.layer:
            await asyncio.wait_for(self.go.wait(), GIVE_UP_S)
        return web.Response(body=self.blobs[digest])


def _layer() -> bytes:
    """A file nobody else has, so that no engine has the layer already."""
    data = uuid.uuid4().bytes
    found = io.BytesIO()
    with tarfile.open(fileobj=found, mode="w") as tar:
        entry = tarfile.TarInfo("data")
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))
    return found.getvalue()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _described(media_type: str, data: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "size": len(data), "digest": _digest(data)}


async def pulled(driver: DockerContainers, reference: str) -> ImageState:
    async with asyncio.timeout(GIVE_UP_S):
        while True:
            try:
                return await driver.ensure_image(reference)
            except UnderWayError:
                await asyncio.sleep(0.05)


async def test_a_slow_registry_keeps_nobody_and_what_it_sends_is_there_in_the_end(
    docker_client: APIClient,
) -> None:
    registry = Registry()
    driver = DockerContainers(DockerConfig(instance="pulls", images="upstream"))
    async with serving(registry.app()) as port, aclosing(driver):
        reference = f"127.0.0.1:{port}/slow:1"
        try:
            for _ in range(2):
                with pytest.raises(UnderWayError) as told:
                    await driver.ensure_image(reference)
                assert told.value.reason == "Pulling"
            registry.go.set()
            assert (await pulled(driver, reference)).digest.startswith("sha256:")
            assert await driver.observe_image(reference) is not None
        finally:
            registry.go.set()
            await asyncio.to_thread(_remove, docker_client, reference)


async def test_a_registry_that_sends_nothing_is_given_up_and_keeps_no_place(
    docker_client: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many pulls as there may be at once, of a registry that never sends; then one that does."""
    monkeypatch.setattr(docker_sdk, "PULL_SILENT_S", 3.0)
    silent, answers = Registry(), Registry()
    answers.go.set()
    driver = DockerContainers(DockerConfig(instance="pulls", images="upstream"))
    async with (
        serving(silent.app()) as nothing,
        serving(answers.app()) as something,
        aclosing(driver),
        asyncio.TaskGroup() as tasks,
    ):
        reference = f"127.0.0.1:{something}/slow:1"
        kept = [
            tasks.create_task(outcome(driver, f"127.0.0.1:{nothing}/slow:{number}"))
            for number in range(PULLS)
        ]
        try:
            await asyncio.sleep(0)  # they are first
            assert (await pulled(driver, reference)).digest.startswith("sha256:")
            told = [await each for each in kept]
        finally:
            silent.go.set()
            await asyncio.to_thread(_remove, docker_client, reference)
    assert {error.reason for error in told} == {"PullFailed"}
    assert "the engine long told nothing of it" in str(told[0])


async def outcome(driver: DockerContainers, reference: str) -> RetryableError:
    with pytest.raises(RetryableError) as told:
        await pulled(driver, reference)
    return told.value


async def test_an_image_that_the_registry_has_not_is_told_to_all_who_ask() -> None:
    registry = Registry()
    driver = DockerContainers(DockerConfig(instance="pulls", images="upstream"))
    async with serving(registry.app()) as port, aclosing(driver):
        for _ in range(2):
            with pytest.raises(RetryableError) as told:
                await pulled(driver, f"127.0.0.1:{port}/absent:1")
            assert told.value.reason == "ImageNotFound"


async def test_a_registry_that_does_not_answer_is_told() -> None:
    async with serving(web.Application()) as port:
        pass
    config = DockerConfig(instance="pulls", images="upstream")
    async with aclosing(DockerContainers(config)) as driver:
        with pytest.raises(RetryableError) as told:
            await pulled(driver, f"127.0.0.1:{port}/away:1")
    assert told.value.reason == "PullFailed"
    assert "connection refused" in str(told.value)


def _remove(client: APIClient, reference: str) -> None:
    if client.images(reference):
        client.remove_image(reference, force=True)
