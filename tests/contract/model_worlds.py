"""The same model server three times: a fake, llama.cpp in its container, and Ollama's contract."""

import asyncio
import hashlib
import itertools
import json
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from drivers.fake.models import FakeFile, FakeModels
from drivers.llamacpp import LlamaCpp
from drivers.models import ModelOrder, Models, ModelServer, ModelState
from drivers.ollama import Ollama
from reconcilers._images import LLAMACPP, service_image
from tests.containers import Running, bench, docker
from tests.support.files import Files, file_server, serving
from tests.support.gguf import tiny_gguf
from tests.support.ollama import OllamaServer, blob_name

_serial = itertools.count()
_KILL = (
    "import os, pathlib\n"
    "for place in pathlib.Path('/proc').glob('[0-9]*'):\n"
    "    command = (place / 'cmdline').read_bytes().split(b'\\0')\n"
    "    if b'/app/llama.py' in command: os.kill(int(place.name), 9)\n"
)
KEYS = {"token": "tenant-key", "admin": "admin-key"}


class ModelWorld(Protocol):
    """A server, and an outsider who reaches into it."""

    models: Models
    server: ModelServer
    name: str
    digest: str
    """Of what the good source gives."""
    size: int

    def order(self, **changes: Any) -> ModelOrder: ...
    def hide_source(self) -> None: ...
    def show_source(self) -> None: ...
    async def remove_behind(self) -> None: ...
    async def unload_behind(self) -> None: ...
    async def stop(self) -> None: ...


async def state_of(world: ModelWorld) -> ModelState:
    found = await world.models.observe_model(world.server, world.name)
    assert found is not None
    return found


async def until(
    world: ModelWorld,
    claim: Callable[[ModelState], bool],
    *,
    within_s: float = 20,
) -> ModelState:
    end = asyncio.get_running_loop().time() + within_s
    while True:
        found = await state_of(world)
        if claim(found):
            return found
        assert asyncio.get_running_loop().time() < end, found
        await asyncio.sleep(0.02)


def settled(state: ModelState) -> bool:
    return state.phase in ("ready", "failed", "empty")


class FakeWorld:
    def __init__(self) -> None:
        self.fake = FakeModels()
        self.models: Models = self.fake
        self.server = ModelServer("http://fake")
        self.name = "records/one:a"
        self.digest, self.size = "sha256:" + "a" * 64, 1000
        self.show_source()

    def order(self, **changes: Any) -> ModelOrder:
        blank = ModelOrder(
            f"o{next(_serial)}", self.name, "good", "http://x/good", max_bytes=1 << 30
        )
        return replace(blank, **changes)

    def hide_source(self) -> None:
        self.fake.sources.clear()

    def show_source(self) -> None:
        self.fake.sources["http://x/good"] = FakeFile(self.digest, self.size)

    async def remove_behind(self) -> None:
        self.fake.held.clear()

    async def unload_behind(self) -> None:
        for held in self.fake.held.values():
            held.loaded = False

    async def stop(self) -> None:
        self.fake.away.add(self.server.url)


class LlamaWorld:
    """A hardened container as the control plane runs it."""

    def __init__(self, container: Running, port: int, files: Files, secrets: Path) -> None:
        self.container, self.files, self.secrets = container, files, secrets
        self.models: Models = LlamaCpp()
        self.server = ModelServer(f"http://{container.address}:8080", KEYS["admin"])
        self.name = "tiny"
        self.data = tiny_gguf()
        self.digest, self.size = blob_name(self.data), len(self.data)
        self.url = f"http://172.17.0.1:{port}/tiny.gguf"
        self.show_source()

    def order(self, **changes: Any) -> ModelOrder:
        blank = ModelOrder(f"o{next(_serial)}", self.name, "good", self.url, max_bytes=1 << 20)
        return replace(blank, **changes)

    def hide_source(self) -> None:
        self.files.files.clear()

    def show_source(self) -> None:
        self.files.files["/tiny.gguf"] = self.data

    async def remove_behind(self) -> None:
        self.container.exec("rm", "/data/model.gguf")

    async def unload_behind(self) -> None:
        self.container.exec("python3", "-c", _KILL)

    async def stop(self) -> None:
        docker("kill", self.container.id)


class OllamaImageWorld:
    """Our image of Ollama's API in its container, and a registry to pull from."""

    def __init__(self, container: Running, port: int, files: Files) -> None:
        self.container, self.files = container, files
        self.models: Models = Ollama()
        self.server = ModelServer(f"http://{container.address}:11434")
        self.name = "bunker/one:a"
        self.data = tiny_gguf()
        self.digest, self.size = blob_name(self.data), len(self.data)
        self.source = f"172.17.0.1:{port}/models/tiny:1"
        self.show_source()

    def order(self, **changes: Any) -> ModelOrder:
        blank = ModelOrder(
            f"o{next(_serial)}", self.name, self.source, max_bytes=1 << 20, insecure=True
        )
        return replace(blank, **changes)

    def hide_source(self) -> None:
        self.files.files.clear()

    def show_source(self) -> None:
        kind = "application/vnd.ollama.image.model"
        layer = {"mediaType": kind, "digest": self.digest, "size": self.size}
        manifest = json.dumps({"schemaVersion": 2, "layers": [layer]}).encode()
        self.files.files["/v2/models/tiny/manifests/1"] = manifest
        self.files.files[f"/v2/models/tiny/blobs/{self.digest}"] = self.data

    async def remove_behind(self) -> None:
        self.container.exec("sh", "-c", "rm /data/models/sha256-*")

    async def unload_behind(self) -> None:
        self.container.exec("python3", "-c", _KILL)

    async def stop(self) -> None:
        docker("kill", self.container.id)


class OllamaWorld:
    """The real driver, against the contract over HTTP."""

    def __init__(self, port: int, contract: OllamaServer, stop: Callable[[], Any]) -> None:
        self.contract, self._stop = contract, stop
        self.models: Models = Ollama()
        self.server = ModelServer(f"http://127.0.0.1:{port}")
        self.name = "records/one:a"
        self.layers = (bytes(200), b"x" * 300)
        self.size = 500
        self.show_source()
        self.digest = _manifest_digest(self.layers)

    def order(self, **changes: Any) -> ModelOrder:
        blank = ModelOrder(f"o{next(_serial)}", self.name, "tiny:1b", max_bytes=1 << 20)
        return replace(blank, **changes)

    def hide_source(self) -> None:
        self.contract.registry.clear()

    def show_source(self) -> None:
        self.contract.registry["tiny:1b"] = self.layers

    async def remove_behind(self) -> None:
        self.contract.manifests.clear()
        self.contract.blobs.clear()

    async def unload_behind(self) -> None:
        self.contract.loaded.clear()

    async def stop(self) -> None:
        await self._stop()


def _manifest_digest(layers: tuple[bytes, ...]) -> str:
    listed = ", ".join(f'"{blob_name(layer)}"' for layer in layers)
    return f"sha256:{hashlib.sha256(f'[{listed}]'.encode()).hexdigest()}"


async def answering(world: LlamaWorld | OllamaImageWorld) -> None:
    """Until the container does."""
    for _ in range(400):
        if await world.models.observe_model(world.server, world.name) is not None:
            return
        assert world.container.running, world.container.logs()
        await asyncio.sleep(0.05)
    raise AssertionError(world.container.logs())


@asynccontextmanager
async def llama_world(*more: str, memory: str = "512m") -> AsyncIterator[LlamaWorld]:
    """`more` are options of `docker run`, later ones win."""
    with bench() as made, tempfile.TemporaryDirectory() as folder:
        secrets = Path(folder)
        secrets.chmod(0o755)
        for name, value in KEYS.items():
            (secrets / name).write_text(value)
        options = (
            *("--user=1000:1000", f"--memory={memory}", f"--memory-swap={memory}"),
            *("--cpus=1", "--tmpfs=/tmp"),
            *(f"--volume={made.volume()}:/data", f"--volume={secrets}:/run/secrets:ro"),
            *("--env=MODEL_NAME=tiny", "--env=CONTEXT_LENGTH=256", "--env=KEEP_ALIVE_S=-1"),
            *more,
        )
        async with file_server(host="0.0.0.0") as files:
            world = LlamaWorld(made.run(LLAMACPP, options=options), files.port, files, secrets)
            async with aclosing(world.models):
                await answering(world)
                yield world


@asynccontextmanager
async def ollama_image_world() -> AsyncIterator[OllamaImageWorld]:
    image = service_image("ollama", source="local")
    with bench() as made:
        options = (
            *("--memory=512m", "--cpus=1", "--tmpfs=/tmp"),
            f"--volume={made.volume()}:{image.data_path}",
        )
        async with file_server(host="0.0.0.0") as files:
            world = OllamaImageWorld(made.run(image.reference, options=options), files.port, files)
            async with aclosing(world.models):
                await answering(world)
                yield world


@asynccontextmanager
async def ollama_world() -> AsyncIterator[OllamaWorld]:
    contract = OllamaServer()
    async with AsyncExitStack() as server:
        port = await server.enter_async_context(serving(contract.app()))
        world = OllamaWorld(port, contract, server.aclose)
        try:
            yield world
        finally:
            await world.models.aclose()  # a test may have put another in their place
