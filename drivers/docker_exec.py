"""Runs a command in a container over a socket of its own.

Not through the SDK's exec: it reads the socket below the buffer that already holds the first
output, and so loses it when the process is faster than we are. The protocol is the engine's
"hijacked" connection with stream frames:
https://docs.docker.com/reference/api/engine/version/v1.41/#operation/ContainerAttach
"""

import json
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Final

from drivers.docker_errors import (
    CommandTimeoutError,
    CommandTooLongError,
    EngineAwayError,
    EngineRefusedError,
)

if TYPE_CHECKING:
    from drivers.docker_sdk import Engine

OUTPUT_BYTES: Final = 4 << 20
"""A line for each of 40,000 buckets. What says more is refused: whoever took a part for the whole
would find that what was cut off isn't there."""
_POLL_S: Final = 0.01
_FRAME: Final = struct.Struct(">BxxxL")  # stream number, length


class Demux:
    """Takes the stream in any pieces, keeps the first OUTPUT_BYTES of what the frames carry, and
    whether that is all."""

    def __init__(self, limit: int = OUTPUT_BYTES) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self.output = bytearray()
        self.cut = False

    def feed(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= _FRAME.size:
            _, length = _FRAME.unpack_from(self._buffer)
            end = _FRAME.size + length
            if len(self._buffer) < end:
                return
            left = self._limit - len(self.output)
            self.output += self._buffer[_FRAME.size : end][:left]
            self.cut = self.cut or length > left
            del self._buffer[:end]


def run_exec(
    engine: "Engine", container_id: str, argv: tuple[str, ...], stdin: bytes, timeout_s: float
) -> tuple[int, str]:
    """Blocking. (exit code, output). Raises EngineError; CommandTimeoutError after timeout_s,
    and the process may live on: the engine cannot kill it; CommandTooLongError for more than
    OUTPUT_BYTES of output."""
    made = engine.call(
        "POST",
        "/containers/{}/exec",
        container_id,
        body={
            "Cmd": list(argv),
            "AttachStdin": bool(stdin),
            "AttachStdout": True,
            "AttachStderr": True,
            "Tty": False,
        },
    )
    # Of a socket, so in real time: no test's clock moves it.
    deadline = time.monotonic() + timeout_s
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.settimeout(timeout_s)
            sock.connect(engine.socket_path)
            output = _talk(sock, engine.api_version, made["Id"], stdin, deadline)
        except TimeoutError as exc:
            raise CommandTimeoutError(f"the command did not end within {timeout_s:g} s") from exc
        except OSError as exc:
            raise EngineAwayError("the connection to the engine broke") from exc
    # the connection is closed a moment before the exit code is known, and no code reads as 0
    pause = threading.Event()
    while (ended := engine.call("GET", "/exec/{}/json", made["Id"]))["Running"]:
        if time.monotonic() > deadline:
            raise CommandTimeoutError(f"the command did not end within {timeout_s:g} s")
        pause.wait(_POLL_S)
    return int(ended["ExitCode"] or 0), output.decode(errors="replace")


def _talk(sock: socket.socket, version: str, exec_id: str, stdin: bytes, deadline: float) -> bytes:
    body = json.dumps({"Detach": False, "Tty": False}).encode()
    head = (
        f"POST /v{version}/exec/{exec_id}/start HTTP/1.1\r\nHost: docker\r\n"
        "Content-Type: application/json\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    sock.sendall(head.encode() + body)
    received = b""
    while b"\r\n\r\n" not in received:
        received += _receive(sock, deadline)
    header, _, rest = received.partition(b"\r\n\r\n")
    status = int(header.split(b" ", 2)[1])
    if status not in (101, 200):
        raise EngineRefusedError(status, rest.decode(errors="replace"))
    if stdin:
        sock.sendall(stdin)
        sock.shutdown(socket.SHUT_WR)
    demux = Demux()
    demux.feed(rest)
    while data := _receive_some(sock, deadline):
        demux.feed(data)
    if demux.cut:
        raise CommandTooLongError(f"the command said more than {OUTPUT_BYTES >> 20} MiB")
    return bytes(demux.output)


def _receive(sock: socket.socket, deadline: float) -> bytes:
    data = _receive_some(sock, deadline)
    if not data:
        raise ConnectionError
    return data


def _receive_some(sock: socket.socket, deadline: float) -> bytes:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    sock.settimeout(left)
    return sock.recv(65536)
