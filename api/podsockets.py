"""A WebSocket and what it is connected to: opened, watched over, and ended together.

A client that is gone is found by pings and the kernel's keepalive, one that reads nothing slows
its process down and holds at most a few hundred KiB. Whichever side ends first ends the other.

A client whose input has to wait is not read from, and so not heard answering pings either: while
that lasts it is told that we are there (kubectl gives up after 61 s without a pong), and only the
kernel looks after the connection.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from api import errors
from api.channels import chosen
from api.context import Call
from api.pulse import Lifeline
from api.sockets import abort, keep_alive
from api.watch import PULSE

MESSAGE_BYTES: Final = 4 * 2**20
"""Largest message accepted; clients send at most some 64 KiB."""
IDLE_S: Final = 4 * 3600.0
"""Without a byte either way, as the kubelet's --streaming-connection-idle-timeout."""
LASTS_S: Final = 24 * 3600.0
"""Longest session of all."""
_CLOSE_S: Final = 5.0

WebSocket = web.WebSocketResponse[bool]


@dataclass(slots=True)
class Session:
    """One WebSocket under way."""

    call: Call
    socket: WebSocket
    protocol: str
    held: Lifeline
    began: float
    """Monotonic seconds."""
    _heard: float = 0.0
    """When the client said something last, in monotonic seconds."""
    _receiving: bool = False
    """False: its input waits, and what it says with it."""

    async def receive(self) -> bytes | None:
        """The next message; None once the client is done."""
        while True:
            self._receiving = True
            try:
                message = await self.socket.receive()
            finally:
                self._receiving = False
            self._heard = self.call.ctx.clock.monotonic()
            if message.type is web.WSMsgType.PING:
                await self.socket.pong(message.data)
                continue
            if message.type is web.WSMsgType.PONG:
                continue
            self.alive()
            if message.type is web.WSMsgType.BINARY:
                found: bytes = message.data
                return found
            if message.type is web.WSMsgType.TEXT:
                return str(message.data).encode()
            if message.type in (
                web.WSMsgType.CLOSE,
                web.WSMsgType.CLOSING,
                web.WSMsgType.CLOSED,
                web.WSMsgType.ERROR,
            ):
                return None

    async def send(self, data: bytes) -> None:
        """Waits while the client reads slowly. Raises ConnectionError."""
        await self.socket.send_bytes(data)
        self.alive()

    def alive(self) -> None:
        """Something went through: the idle time begins anew."""
        now = self.call.ctx.clock.monotonic()
        self.held.ends_at = min(self.began + LASTS_S, now + IDLE_S)

    async def _look_after(self) -> None:
        """For as long as the client is there. Raises TimeoutError once it answers no ping."""
        clock, every_s = self.call.ctx.clock, self.call.ctx.limits.ping_s
        told = self.began
        while True:
            while (left := max(self._heard, told) + every_s - clock.monotonic()) > 0:
                await clock.sleep(left)
            told = clock.monotonic()
            if not self._receiving:
                await self.socket.pong()
                continue
            async with asyncio.timeout(every_s / 2):
                await self.socket.ping()
            await clock.sleep(told + every_s / 2 - clock.monotonic())
            if self._heard < told:
                raise TimeoutError

    async def run(self, *sides: Awaitable[None]) -> None:
        """Run both sides until the first ends, the client is gone, or the session's time is over.
        Raises TimeoutError for a client that answers no ping."""
        tasks = [asyncio.ensure_future(side) for side in (*sides, self._look_after())]
        try:
            await self.held.wait(asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled() and (failure := task.exception()) is not None:
                raise failure


def protocol_of(call: Call, spoken: Sequence[str]) -> str:
    """Which subprotocol to speak. Raises StatusError 400."""
    request = call.request
    if request.headers.get("Upgrade", "").lower() != "websocket":
        raise errors.bad_request(
            "this needs a WebSocket: use kubectl 1.31 or newer, which speaks it by default"
        )
    offered = ",".join(request.headers.getall("Sec-WebSocket-Protocol", []))
    found = chosen(offered, spoken)
    if found is None:
        raise errors.bad_request(
            f"no subprotocol of {offered[:128]!r} is served here; use one of: {', '.join(spoken)}"
        )
    return found


async def upgraded(call: Call, protocol: str, resource: str, use: Any) -> web.StreamResponse:
    """Accept the WebSocket, and have `use(session)` run on it to its end."""
    socket: WebSocket = web.WebSocketResponse(
        protocols=(protocol,),
        autoping=False,
        timeout=_CLOSE_S,
        max_msg_size=MESSAGE_BYTES,
        compress=False,
    )
    now = call.ctx.clock.monotonic()
    held = Lifeline(call.request, call.token, resource, ends_at=now + IDLE_S)
    with call.request.app[PULSE].holding(held):
        await socket.prepare(call.request)
        keep_alive(call.request)
        try:
            await use(Session(call, socket, protocol, held, now))
            await socket.close()
        except (ConnectionError, TimeoutError):
            abort(call.request)
    return socket
