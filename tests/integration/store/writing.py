"""Short spellings for the writes that the store's tests make, below the rules of Records."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

from controlplane.records import Key, Stored, Write
from controlplane.store.shape import encode


def key_of(name: str, kind: str = "ConfigMap") -> Key:
    return Key(kind, "shop", name)


def body_of(key: Key, text: str) -> bytes:
    meta = {"name": key.name, "namespace": key.namespace}
    return encode({"apiVersion": "v1", "kind": key.kind, "metadata": meta, "data": {"text": text}})


def create(
    name: str, text: str = "", *, kind: str = "ConfigMap", epoch: int | None = None
) -> Write:
    key = key_of(name, kind)
    body = body_of(key, text)
    return Write("create", key, str(uuid4()), 1, body, b"[]", None, "alice", "test", epoch)


def update(base: Stored, text: str, *, epoch: int | None = None) -> Write:
    body, generation = body_of(base.key, text), base.generation + 1
    return Write(
        "update",
        *(base.key, base.uid, generation, body, b"[]", base.revision, "alice", "test", epoch),
    )


def delete(base: Stored) -> Write:
    return Write(
        "delete",
        *(base.key, base.uid, base.generation, base.body, b"[]", base.revision, "alice", "test"),
    )


async def eventually(claim: Callable[[], bool], *, timeout_s: float = 5.0) -> None:
    """Wait until the world is so; polls, as the world has no event for it."""
    async with asyncio.timeout(timeout_s):
        while not claim():  # noqa: ASYNC110  # see above
            await asyncio.sleep(0.01)


class Proxy:
    """Stands between a client and PostgreSQL's socket, and loses a message with a word in it
    (COMMIT, say), or the reply to it."""

    def __init__(self, upstream: str, word: bytes = b"COMMIT") -> None:
        self.upstream = upstream
        self.word = word
        self.lose: str = ""
        """`reply`: it is carried out, and the answer is lost; anything else: it never arrives."""
        self.lost = 0
        self.asked = 0
        """How often something was sent to the server."""
        self.largest_reply = 0
        """Most bytes that came for one thing asked, on one connection."""

    @asynccontextmanager
    async def listening(self, path: str) -> AsyncIterator[None]:
        server = await asyncio.start_unix_server(self._serve, path)
        try:
            yield
        finally:
            server.close()

    @asynccontextmanager
    async def on_a_port(self) -> AsyncIterator[int]:
        """The same, for who comes by TCP to 127.0.0.1."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_unix_connection(self.upstream)
        losing, reply = asyncio.Event(), [0]
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._up(reader, up_writer, losing, reply))
                tasks.create_task(self._down(up_reader, writer, losing, reply))
        except* ConnectionError:
            pass
        finally:
            writer.close()
            up_writer.close()

    async def _up(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        losing: asyncio.Event,
        reply: list[int],
    ) -> None:
        while data := await reader.read(65536):
            self.asked, reply[0] = self.asked + 1, 0
            if self.lose and self.word in data:
                how, self.lose = self.lose, ""
                self.lost += 1
                if how != "reply":
                    raise ConnectionError("lost on the way there")
                losing.set()
            writer.write(data)
        raise ConnectionError("closed")

    async def _down(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        losing: asyncio.Event,
        reply: list[int],
    ) -> None:
        while data := await reader.read(65536):
            if losing.is_set():
                raise ConnectionError("lost on the way back")
            reply[0] += len(data)
            self.largest_reply = max(self.largest_reply, reply[0])
            writer.write(data)
        raise ConnectionError("closed")
