"""Fixed answers: worked out once, sent as bytes, revalidated by ETag.

Discovery and OpenAPI are made of them. Nothing that changes while the process runs.
"""

import asyncio
import hashlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

import orjson
from aiohttp import web

from api.served import Catalogue

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Document:
    """A fixed answer and its fingerprint."""

    body: bytes
    content_type: str
    hash: str

    @property
    def etag(self) -> str:
        return f'"{self.hash}"'


def document(value: object, content_type: str = "application/json") -> Document:
    """Encode a fixed answer (bytes are taken as they are); the hash depends on it and its type
    alone: a client that revalidates keeps the headers it has."""
    body = value if isinstance(value, bytes) else orjson.dumps(value)
    digest = hashlib.sha256(content_type.encode() + b"\n" + body)
    return Document(body, content_type, digest.hexdigest()[:32].upper())


class Once(Generic[T]):
    """What is worked out of a catalogue when it is first asked for, on a thread: all of OpenAPI
    takes 0.3 s where no schema was known yet, and the loop has others to serve."""

    def __init__(self, make: Callable[[Catalogue], T]) -> None:
        self._make = make
        self._kept: WeakKeyDictionary[Catalogue, T] = WeakKeyDictionary()
        self._making = threading.Lock()

    async def of(self, catalogue: Catalogue) -> T:
        """The same object each time."""
        kept = self._kept.get(catalogue)
        return await asyncio.to_thread(self._made, catalogue) if kept is None else kept

    def _made(self, catalogue: Catalogue) -> T:
        with self._making:
            kept = self._kept.get(catalogue)
            if kept is None:
                kept = self._kept[catalogue] = self._make(catalogue)
            return kept


def respond(
    request: web.Request, found: Document, headers: Mapping[str, str] | None = None
) -> web.Response:
    """The document, or 304 when the client has it (RFC 9110 §13.1.2)."""
    sent = {"ETag": found.etag, "Vary": "Accept", "Cache-Control": "public", **(headers or {})}
    if _has(request.headers.get("If-None-Match", ""), found.etag):
        return web.Response(status=304, headers=sent)
    return web.Response(body=found.body, headers={**sent, "Content-Type": found.content_type})


def _has(if_none_match: str, etag: str) -> bool:
    tags = (tag.strip().removeprefix("W/") for tag in if_none_match.split(","))
    return any(tag in ("*", etag) for tag in tags)
