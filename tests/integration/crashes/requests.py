"""Each request that changes something behind the seam, where one verb of a driver makes several: a
real process can die between two of them."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, Final

from controlplane.seam import Call, Seam
from drivers.docker import DockerContainers
from drivers.powerdns import DnsServer, PowerDns
from drivers.powerdns_http import HttpPowerDns
from drivers.s3 import S3
from drivers.s3_network import NetworkS3

S3_LOOKS: Final = ("get_", "head_", "list_")


def engine_requests(containers: DockerContainers, seam: Seam) -> None:
    calls = containers._calls
    go = calls.act

    async def act(what: str, *args: Any, **kwargs: Any) -> Any:
        return await seam(Call("docker", "act", go, (what, *args), kwargs))

    calls.__dict__["act"] = act


def dns_requests(dns: PowerDns, seam: Seam) -> None:
    assert isinstance(dns, HttpPowerDns)
    go = dns._call

    async def call(server: DnsServer, method: str, path: str, *args: Any, **kwargs: Any) -> Any:
        if method == "GET":
            return await go(server, method, path, *args, **kwargs)

        async def make(path: str) -> Any:
            return await go(server, method, path, *args, **kwargs)

        return await seam(Call("powerdns", method, make, (path,)))

    dns.__dict__["_call"] = call


class _Waiting:
    """What the seam is asked by one verb, until its process is dead: nothing asked later is
    answered, and a thread that was in the midst of a look asks later."""

    def __init__(self) -> None:
        self._asked: list[Future[Any]] = []
        self._over = False
        self._lock = threading.Lock()

    def add(self, asked: Future[Any]) -> None:
        with self._lock:
            self._asked.append(asked)
            over = self._over
        if over:
            asked.cancel()

    def end(self) -> None:
        with self._lock:
            self._over = True
            asked = tuple(self._asked)
        for each in asked:
            each.cancel()


def s3_requests(s3: S3, seam: Seam) -> None:
    """Its requests are made on threads, the seam is on the loop: each waits for the other."""
    assert isinstance(s3, NetworkS3)
    calls = s3._calls
    call_now, run_now = calls.call, calls.run
    mine = threading.local()
    """`waiting`: what the seam is asked by the verb that this thread carries out."""

    async def run(what: str, verb: Callable[[], Any]) -> Any:
        waiting = _Waiting()
        loop = asyncio.get_running_loop()

        def on_thread() -> Any:
            mine.waiting, mine.loop = waiting, loop
            return verb()

        running = asyncio.ensure_future(run_now(what, on_thread))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            # its process is dead: a driver waits for its threads, so let them go first
            waiting.end()
            running.cancel()
            await asyncio.wait([running])
            raise

    def call(service: Any, server: Any, operation: str, **params: Any) -> Any:
        if operation.startswith(S3_LOOKS):
            return call_now(service, server, operation, **params)
        context = contextvars.copy_context()
        go = partial(context.run, call_now, service, server, operation, **params)

        async def make(name: str) -> Any:
            del name
            return await asyncio.to_thread(go)

        what = params.get("Bucket") or params.get("UserName") or ""
        asked = asyncio.run_coroutine_threadsafe(
            _pass(seam, Call("s3-api", operation, make, (what,))), mine.loop
        )
        mine.waiting.add(asked)
        return asked.result()

    calls.__dict__.update(call=call, run=run)


async def _pass(seam: Seam, call: Call) -> Any:
    return await seam(call)
