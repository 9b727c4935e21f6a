"""Serves one model behind one key; the control plane orders the file over /bunker/model.

`BACKEND=llamacpp`: the file is in /data and llama.cpp runs here. `BACKEND=ollama`: the model is in
the Ollama at UPSTREAM, under the name INNER_NAME, and this is the gateway alone. With KEEP_ALIVE_S
it stays in memory for so long after a use, and without for as long as that Ollama keeps any.
"""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import aiohttp
from aiohttp import web
from engine import Engine, LoadError
from fetch import Order
from gateway import BODY_BYTES, Gateway, Lingering, admitted, fixed, refusal
from shelf import Shelf

SECRETS = Path(os.environ.get("SECRETS_PATH", "/run/secrets"))
TEND_S = 1.0


async def healthz(request: web.Request) -> web.Response:
    """Whether this process lives; nothing of the model."""
    del request
    return web.json_response({"ok": True})


class Orders:
    """What the control plane may ask, with a key of its own."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/bunker/model", self.state),
            web.put("/bunker/model", self.accept),
            web.delete("/bunker/model", self.clear),
            web.post("/bunker/model/load", self.load),
            web.post("/bunker/model/unload", self.unload),
        ]

    async def state(self, request: web.Request) -> web.Response:
        del request
        await self.shelf.inspect()
        return web.json_response(self.shelf.told())

    async def accept(self, request: web.Request) -> web.Response:
        try:
            order = Order(**json.loads(await request.read()))
        except (ValueError, TypeError):
            return refusal(400, "invalid_body", "not an order")
        self.shelf.accept(order)
        return web.json_response(self.shelf.told(), status=202)

    async def clear(self, request: web.Request) -> web.Response:
        del request
        await self.shelf.clear()
        return web.json_response(self.shelf.told())

    async def load(self, request: web.Request) -> web.Response:
        del request
        if self.shelf.phase != "ready":
            return refusal(409, "no_model", "there is no model to load")
        with contextlib.suppress(LoadError):  # told by the state
            await self.shelf.engine.load()
        return web.json_response(self.shelf.told())

    async def unload(self, request: web.Request) -> web.Response:
        del request
        await self.shelf.engine.unload()
        return web.json_response(self.shelf.told())


@web.middleware
async def guard(request: web.Request, handler: object) -> web.StreamResponse:
    """The control plane's paths take the control plane's key alone."""
    if request.path.startswith("/bunker/") and not admitted(request, SECRETS / "admin"):
        return refusal(401, "invalid_api_key", "the admin key is missing or wrong")
    assert callable(handler)
    answer: web.StreamResponse = await handler(request)
    return answer


@contextlib.asynccontextmanager
async def ready(shelf: Shelf) -> AsyncIterator[str]:
    """The llama.cpp of this container, if its model is there."""
    await shelf.inspect()
    if shelf.phase != "ready":
        raise LoadError("NotReady", f"it is not here yet ({shelf.phase})")
    async with shelf.engine.using() as address:
        yield address


async def tend(engine: Engine) -> None:
    while True:
        await engine.tend()
        await asyncio.sleep(TEND_S)


async def serve() -> web.Application:
    env = os.environ
    app = web.Application(client_max_size=BODY_BYTES, middlewares=[guard])
    session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None, sock_connect=10))
    name = env["MODEL_NAME"]
    app.router.add_get("/healthz", healthz)
    tending = lingering = None
    if env.get("BACKEND", "llamacpp") == "ollama":
        inner, upstream = env["INNER_NAME"], env["UPSTREAM"].rstrip("/")
        backend = partial(fixed, upstream)
        if keep_alive := env.get("KEEP_ALIVE_S"):
            lingering = Lingering(upstream, inner, int(keep_alive), session)
    else:
        path = Path(env.get("DATA_PATH", "/data")) / "model.gguf"
        context, keep_alive_s = int(env["CONTEXT_LENGTH"]), float(env["KEEP_ALIVE_S"])
        shelf = Shelf(path, Engine(path, name, context, keep_alive_s))
        shelf.open()
        inner, backend = name, partial(ready, shelf)
        app.router.add_routes(Orders(shelf).routes())
        tending = asyncio.get_running_loop().create_task(tend(shelf.engine))
    gateway = Gateway(name, inner, SECRETS / "token", backend, session, lingering)
    app.router.add_routes(gateway.routes())

    async def close(_: web.Application) -> None:
        if tending is not None:
            tending.cancel()
        if lingering is not None:
            lingering.close()
        await session.close()

    app.on_cleanup.append(close)
    return app


if __name__ == "__main__":
    web.run_app(serve(), port=int(os.environ.get("PORT", "8080")), access_log=None, print=None)
