"""Model servers that answer what they shouldn't, slowly, or not at all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest
from aiohttp import web

from controlplane.errors import RetryableError
from drivers import model_calls
from drivers.llamacpp import LlamaCpp
from drivers.models import ModelServer, ModelState
from drivers.ollama import Ollama
from tests.support.files import serving


@asynccontextmanager
async def answering(answer: web.Response | float) -> AsyncIterator[ModelServer]:
    """A server that says the same to everything, or nothing for so many seconds."""

    async def handle(request: web.Request) -> web.Response:
        del request
        if isinstance(answer, float):
            await asyncio.sleep(answer)
            return web.Response()
        return web.Response(
            status=answer.status, body=answer.body, content_type=answer.content_type
        )

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    async with serving(app) as port:
        yield ModelServer(f"http://127.0.0.1:{port}", "key")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(web.Response(text="hello"), "BadAnswer", id="text"),
        pytest.param(web.Response(text="[1]"), "BadAnswer", id="list"),
        pytest.param(web.Response(text='{"phase": "dreaming"}'), "BadAnswer", id="unknown phase"),
        pytest.param(web.Response(text="{}"), "BadAnswer", id="nothing"),
        pytest.param(web.Response(status=401), "KeyRefused", id="another key"),
        pytest.param(web.Response(status=502, text="<html>"), "Refused", id="page"),
    ],
)
async def test_what_a_container_should_not_answer_is_an_error_with_a_reason(
    answer: web.Response, reason: str
) -> None:
    async with aclosing(LlamaCpp()) as driver, answering(answer) as server:
        with pytest.raises(RetryableError) as caught:
            await driver.observe_model(server, "tiny")
    assert caught.value.reason == reason


async def test_numbers_that_are_none_are_none() -> None:
    odd = '{"phase": "ready", "size": "big", "completed": -1, "total": true, "loaded": "yes"}'
    async with aclosing(LlamaCpp()) as driver, answering(web.Response(text=odd)) as server:
        assert await driver.observe_model(server, "tiny") == ModelState("ready")


@pytest.mark.parametrize("driver", [LlamaCpp, Ollama])
async def test_a_load_that_takes_long_is_not_waited_for(
    driver: type[LlamaCpp | Ollama], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_calls, "LOAD_TIMEOUT_S", 0.05)
    async with aclosing(driver()) as made, answering(1.0) as server:
        with pytest.raises(RetryableError) as caught:
            await made.load_model(server, "tiny", keep_alive_s=None)
    assert caught.value.reason == "Loading"


async def test_a_server_that_hangs_is_one_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with aclosing(model_calls.Calls()) as calls, answering(1.0) as server:
        assert await calls.ask(server, "GET", "/", timeout_s=0.05) is None
