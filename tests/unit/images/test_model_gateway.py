"""The gateway before an Ollama has it keep a model for as long as the record says."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from drivers.models import ModelServer, ModelState
from drivers.ollama import Ollama
from reconcilers._modelserver import Place, env_of, inner_name, lives_as_wanted
from tests.support.files import serving
from tests.support.ollama import DEFAULT_KEEP_ALIVE_S, Manifest, OllamaServer, full
from tests.unit.images.beside import load
from tests.unit.reconcilers.models import ollama

DAY_S = 86_400.0


gateway, modelhost = load("llamacpp", "gateway", "modelhost")


class Chats:
    """A gateway as the control plane makes it, and who speaks to it."""

    def __init__(self, contract: OllamaServer, record: Any, upstream: str) -> None:
        self.contract, self.record, self.upstream = contract, record, upstream
        self.inner = full(inner_name(record))
        self.session = aiohttp.ClientSession()
        self.port = 0

    async def ask(self, path: str = "chat/completions", **more: Any) -> int:
        url = f"http://127.0.0.1:{self.port}/v1/{path}"
        headers = {"Authorization": "Bearer tenant-key"}
        body = {"model": "shop", "messages": [], **more}
        async with self.session.post(url, json=body, headers=headers) as answer:
            await answer.read()
            return answer.status

    async def state(self) -> ModelState:
        models = Ollama()
        try:
            found = await models.observe_model(ModelServer(self.upstream), self.inner)
        finally:
            await models.aclose()
        assert found is not None
        return found

    async def left_s(self) -> float:
        return (await self.state()).expires_in_s or 0.0

    @property
    def told(self) -> int:
        return self.contract.calls.count("POST /api/generate")


@asynccontextmanager
async def chats(
    record: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, here: bool = True
) -> AsyncIterator[Chats]:
    (tmp_path / "token").write_text("tenant-key")
    monkeypatch.setattr(modelhost, "SECRETS", tmp_path)
    contract = OllamaServer()
    async with serving(contract.app()) as port:
        upstream = f"http://127.0.0.1:{port}"
        made = Chats(contract, record, upstream)
        if here:
            contract.manifests[made.inner] = Manifest(())
        monkeypatch.delenv("KEEP_ALIVE_S", raising=False)
        for name, value in env_of(record, Place(upstream, upstream)).items():
            monkeypatch.setenv(name, value)
        async with serving(await modelhost.serve()) as made.port, made.session:
            yield made


async def until(claim: Callable[[], Any], *, within_s: float = 5) -> None:
    end = asyncio.get_running_loop().time() + within_s
    while not await claim():
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.01)


async def test_a_model_stays_for_longer_than_its_server_keeps_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with chats(ollama(keepAlive="24h"), tmp_path, monkeypatch) as made:
        assert await made.ask() == 200

        async def kept() -> bool:
            return DAY_S - 60 < await made.left_s() <= DAY_S

        await until(kept)
        assert lives_as_wanted(made.record, await made.state())
        assert await made.ask(stream=True) == 200
        assert await kept()


async def test_a_model_for_embeddings_alone_is_kept_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = ollama(keepAlive="1h")
    metadata = record.metadata.model_copy(update={"uid": "embed-1"})
    async with chats(
        record.model_copy(update={"metadata": metadata}), tmp_path, monkeypatch
    ) as made:
        assert await made.ask("embeddings", input="x") == 200

        async def kept() -> bool:
            return 3000 < await made.left_s() <= 3600

        await until(kept)


@pytest.mark.parametrize("keep_alive", ["5m", "1m", "0s", "always"])
async def test_a_server_is_told_nothing_where_its_own_time_or_a_look_will_do(
    keep_alive: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with chats(ollama(keepAlive=keep_alive), tmp_path, monkeypatch) as made:
        assert await made.ask() == 200
        await asyncio.sleep(0.05)
        assert made.told == 0
        assert await made.left_s() <= DEFAULT_KEEP_ALIVE_S


async def test_many_uses_are_told_once_and_one_that_loaded_it_anew_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "TOLD_EVERY_S", 0.5)
    async with chats(ollama(keepAlive="24h"), tmp_path, monkeypatch) as made:
        for _ in range(10):
            assert await made.ask() == 200

        async def told() -> bool:
            return made.told == 1

        await until(told)
        made.contract.loaded.clear()
        assert await made.ask() == 200
        assert await made.left_s() <= DEFAULT_KEEP_ALIVE_S

        async def kept() -> bool:
            return await made.left_s() > DAY_S - 60

        await until(kept)
        assert made.told == 2
        await asyncio.sleep(1.2)
        assert made.told == 2  # nobody used it


async def test_a_model_that_did_not_answer_is_not_loaded_by_being_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with chats(ollama(keepAlive="24h"), tmp_path, monkeypatch, here=False) as made:
        assert await made.ask() == 404
        await asyncio.sleep(0.05)
        assert made.told == 0


async def test_no_request_waits_for_a_server_that_does_not_take_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "TOLD_WITHIN_S", 0.2)
    monkeypatch.setattr(gateway, "TOLD_EVERY_S", 0.0)
    async with chats(ollama(keepAlive="24h"), tmp_path, monkeypatch) as made:
        made.contract.odd = {"no_end"}
        for _ in range(2):
            async with asyncio.timeout(5):
                assert await made.ask() == 200

        async def told_again() -> bool:
            return made.told == 2

        await until(told_again)
        made.contract.odd = set()
        assert await made.ask() == 200

        async def kept() -> bool:
            return await made.left_s() > DAY_S - 60

        await until(kept)
