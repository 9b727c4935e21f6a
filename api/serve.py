"""Serves the application on TLS: bounds on connections, and a shutdown that lets requests end."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from api import errors
from api.answers import error_response
from api.app import SILENT, WRITE_S
from api.sockets import abort
from controlplane.errors import TerminalError

_KEEPALIVE_S: Final = 75.0
"""Idle connections; clients reuse theirs well within it."""
_HANDSHAKE_S: Final = 10.0
"""A connection that has not finished its TLS handshake by then is dropped."""
_FIRST_REQUEST_S: Final = 15.0
"""A connection that has not sent its first request's headers by then is dropped."""
_SHUTDOWN_S: Final = 5.0
"""How long requests under way may take once it is told to stop; streams end at once."""
_BACKLOG: Final = 1024
_CONNECTIONS: Final = 4096
"""Open at once; more are closed unanswered. About 15 KiB each with TLS."""
_AT_ONCE_BYTES: Final = 64 * 1024
"""What a transport takes without having its writer wait (asyncio's default)."""
_MAX_HEADER_BYTES: Final = 16 * 1024
"""Of one header line and of the request line: the longest selector accepted fits."""


class _Doorman:
    """Makes a protocol for each connection; drops those that say nothing."""

    def __init__(
        self, server: web.Server, silent: set[asyncio.BaseProtocol], write_s: float
    ) -> None:
        self._server = server
        self._silent = silent
        self._write_s = write_s
        self._loop = asyncio.get_running_loop()

    def __call__(self) -> asyncio.BaseProtocol:
        if len(self._server.connections) >= _CONNECTIONS:
            return _Refusing()
        handler = _Connection(
            self._server,
            loop=self._loop,
            access_log=None,  # type: ignore[arg-type]  # none is kept: AppRunner passes the same
            keepalive_timeout=_KEEPALIVE_S,
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
        )
        handler.write_s = self._write_s
        self._silent.add(handler)
        self._loop.call_later(_HANDSHAKE_S + _FIRST_REQUEST_S, self._drop_silent, handler)
        return handler

    def _drop_silent(self, handler: web.RequestHandler) -> None:
        if handler in self._silent:
            self._silent.discard(handler)
            if handler.transport is not None:
                handler.transport.abort()


class _Connection(web.RequestHandler):
    """Says what is wrong with what is no request as all else is said: by a Status. Keeps no answer
    for who doesn't take it."""

    __slots__ = ("write_s",)
    write_s: float
    """Longest that a client may take nothing of an answer, in seconds."""

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        size = resp.content_length if isinstance(resp, web.Response) else None
        if (size or 0) <= _AT_ONCE_BYTES:
            return await super().finish_response(request, resp, start_time)
        patience = _Patience(request, self.write_s)
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            patience.end()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if status >= 500 or request.writer.output_size > 0:
            # logs it, and raises when it is too late to say anything
            super().handle_error(request, status, exc, message)
        response = error_response(_refusal(status, exc, message or ""))
        response.force_close()
        return response


class _Patience:
    """Cuts a client off that takes nothing of a large answer for so long, or twice as long."""

    def __init__(self, request: web.BaseRequest, write_s: float) -> None:
        self._request = request
        self._write_s = write_s
        self._left = self._unsent()
        self._timer = self._later()

    def end(self) -> None:
        self._timer.cancel()

    def _later(self) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(self._write_s, self._look)

    def _unsent(self) -> tuple[int, int]:
        """Changes whenever something is written, or leaves for the kernel."""
        transport = self._request.transport
        waiting = 0 if transport is None else transport.get_write_buffer_size()
        return self._request.writer.output_size, waiting

    def _look(self) -> None:
        before, self._left = self._left, self._unsent()
        if self._left == before:
            abort(self._request)
        else:
            self._timer = self._later()


def _refusal(status: int, exc: BaseException | None, message: str) -> errors.StatusError:
    """For what could not be read as a request, whose own words go to nobody's log."""
    if status >= 500:
        return errors.internal()
    if isinstance(exc, LineTooLong):
        # as Go's servers: the request line counts as a header
        return errors.StatusError(
            431,
            "RequestHeaderFieldsTooLarge",
            f"the request line or a header is longer than {_MAX_HEADER_BYTES} bytes: "
            "write a shorter path, selector or token",
        )
    why = message.partition("\n")[0].rstrip(": ")[:200]
    told = why.encode("ascii", "backslashreplace").decode()
    return errors.bad_request(f"the request is not HTTP as it should be: {told}")


class _Refusing(asyncio.Protocol):
    """Closes at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


@asynccontextmanager
async def serving(
    app: web.Application, address: str, port: int, context: ssl.SSLContext
) -> AsyncIterator[int]:
    """Serve for the length of a block; yields the port (port 0 picks a free one).

    Raises TerminalError where it can't listen there.
    """
    runner = web.AppRunner(
        app,
        handle_signals=False,
        shutdown_timeout=_SHUTDOWN_S,
        # who went away gets no answer: a handler that waits for nobody only holds memory
        handler_cancellation=True,
    )
    await runner.setup()
    assert runner.server is not None
    try:
        doorman = _Doorman(runner.server, app[SILENT], app[WRITE_S])
        listening = await _listening(doorman, address, port, context)
        try:
            yield listening.sockets[0].getsockname()[1]
        finally:
            listening.close()
    finally:
        await runner.cleanup()


async def _listening(
    doorman: _Doorman, address: str, port: int, context: ssl.SSLContext
) -> asyncio.Server:
    try:
        return await asyncio.get_running_loop().create_server(
            doorman,
            address,
            port,
            ssl=context,
            backlog=_BACKLOG,
            ssl_handshake_timeout=_HANDSHAKE_S,
        )
    except OSError as exc:
        why = os.strerror(exc.errno).lower() if exc.errno else str(exc)
        raise TerminalError(
            f"cannot listen on {address}, port {port}: {why}; end what has it, or set "
            "CP_API_ADDRESS and CP_API_PORT",
            reason="NotListening",
        ) from exc
