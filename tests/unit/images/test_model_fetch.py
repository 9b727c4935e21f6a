"""How a Model's container fetches its file and keeps it: whatever happens, the order ends."""

import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.support.files import Files, file_server, serving
from tests.unit.images.beside import load

DATA = b"GGUF" + bytes(range(256)) * 8
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"


engine, fetch, registry, shelf = load("llamacpp", "engine", "fetch", "registry", "shelf")


class Loads:
    """An engine that loads whatever it is given."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.failure = None
        self.failures = 0
        self.loaded = False

    async def load(self) -> None:
        self.loaded = True

    async def unload(self) -> None:
        self.loaded = False


@pytest.fixture
def here(tmp_path: Path) -> Any:
    """An empty shelf."""
    path = tmp_path / "model.gguf"
    return shelf.Shelf(path, Loads(path))


@pytest.fixture
async def files() -> AsyncIterator[Files]:
    async with file_server() as served:
        served.files["/tiny.gguf"] = DATA
        yield served


def order(url: str, **more: Any) -> Any:
    return fetch.Order("1", "tiny", url, max_bytes=1 << 20, **more)


def of(files: Files, **more: Any) -> Any:
    return order(f"http://127.0.0.1:{files.port}/tiny.gguf", **more)


async def carried_out(here: Any, wanted: Any) -> Any:
    """What is told once the work on an order has ended."""
    here.accept(wanted)
    await here.work
    return here.told()


async def test_a_fetch_that_was_ended_after_its_last_byte_is_taken_up(
    here: Any, files: Files
) -> None:
    here.path.with_suffix(".partial").write_bytes(DATA)
    fetch._remember(here.path.with_suffix(".partial.json"), "tiny", files.etag("/tiny.gguf"))
    told = await carried_out(here, of(files))
    assert (told["phase"], told["digest"], files.sent) == ("ready", DIGEST, 0)


async def test_a_leftover_longer_than_the_file_is_fetched_anew(here: Any, files: Files) -> None:
    here.path.with_suffix(".partial").write_bytes(DATA + b"more")
    fetch._remember(here.path.with_suffix(".partial.json"), "tiny", files.etag("/tiny.gguf"))
    told = await carried_out(here, of(files))
    assert (told["phase"], told["failure"]["lasting"]) == ("failed", False)
    told = await carried_out(here, of(files))
    assert (told["phase"], told["digest"]) == ("ready", DIGEST)


@pytest.mark.parametrize(
    "manifest",
    [
        '{"layers": null}',
        '{"layers": "none", "manifests": null}',
        '{"manifests": [1], "layers": [1]}',
        '{"layers": [{"size": null}, {"size": "1", "digest": 5}]}',
        "[]",
    ],
)
async def test_an_odd_manifest_ends_the_order_with_a_reason(here: Any, manifest: str) -> None:
    async with answering(lambda _: web.Response(text=manifest)) as url:
        told = await carried_out(here, order(f"{url}/v2/tiny/manifests/1", oci=True))
    assert told["phase"] == "failed"
    assert told["failure"]["reason"] in ("SourceMissing", "SourceUnavailable", "DigestMismatch")


async def test_an_odd_token_ends_the_order_with_a_reason(here: Any) -> None:
    def answer(request: web.Request) -> web.Response:
        if request.path == "/token":
            return web.Response(text="[]")
        realm = f'Bearer realm="http://{request.host}/token"'
        return web.Response(status=401, headers={"WWW-Authenticate": realm})

    async with answering(answer) as url:
        told = await carried_out(here, order(f"{url}/v2/tiny/manifests/1", oci=True))
    assert (told["phase"], told["failure"]["reason"]) == ("failed", "SourceUnavailable")


async def test_a_note_that_cannot_be_written_ends_the_order_with_a_reason(
    here: Any, files: Files
) -> None:
    here.note.with_suffix(".draft").mkdir()
    told = await carried_out(here, of(files))
    assert (told["phase"], told["failure"]["reason"]) == ("failed", "Failed")


async def test_a_file_removed_while_it_is_looked_at_is_missing(here: Any, files: Files) -> None:
    assert (await carried_out(here, of(files)))["phase"] == "ready"
    here.path.write_bytes(DATA)  # touched
    await here.inspect()
    here.path.unlink()
    await here.work
    assert here.told()["phase"] == "empty"


@contextlib.asynccontextmanager
async def answering(answer: Callable[[web.Request], web.Response]) -> AsyncIterator[str]:
    """A server that answers everything so; its address."""

    async def get(request: web.Request) -> web.Response:
        return answer(request)

    handler: Callable[[web.Request], Awaitable[web.Response]] = get
    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    async with serving(app) as port:
        yield f"http://127.0.0.1:{port}"
