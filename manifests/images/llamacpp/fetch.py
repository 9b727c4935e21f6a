"""Fetches one file over HTTP: resumable, bounded, hashed on the way, and checked to be a GGUF."""

import asyncio
import errno
import hashlib
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

CHUNK_BYTES = 1 << 20
STALL_S = 60.0
"""No byte for so long: the connection is given up, and what came stays for the next attempt."""
MAGIC = b"GGUF"
"""First bytes of every such file: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md"""


@dataclass(frozen=True)
class Order:
    """What to fetch. `source` names it without any secret; url and headers may hold some."""

    order: str
    source: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)
    digest: str = ""
    """`sha256:...` it must have, or "" for any."""
    max_bytes: int = 0
    oci: bool = False
    """`url` is a manifest in a container registry."""


@dataclass
class FetchError(Exception):
    """`lasting`: the same order would fail again."""

    reason: str
    message: str
    lasting: bool = False


@dataclass
class Progress:
    completed: int = 0
    total: int = 0
    """0: the server doesn't say."""


Resolve = Callable[[aiohttp.ClientSession, Order], Awaitable[Order]]
"""Finds the file behind an order that names it indirectly."""


async def fetch(order: Order, target: Path, progress: Progress, resolve: Resolve) -> str:
    """Bring the file to `target`; its `sha256:...` digest. Raises FetchError."""
    partial, note = target.with_suffix(".partial"), target.with_suffix(".partial.json")
    try:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=20, sock_read=STALL_S)
        # as it is: compressed on the way it would have another digest
        plain = {"Accept-Encoding": "identity"}
        async with aiohttp.ClientSession(timeout=timeout, headers=plain) as session:
            order = await resolve(session, order) if order.oci else order
            digest = await _download(session, order, partial, note, progress)
    except FetchError as error:
        if error.lasting:
            _forget(partial, note)
        raise
    except OSError as error:
        if isinstance(error, aiohttp.ClientError) or error.errno != errno.ENOSPC:
            raise FetchError("SourceUnavailable", _cause(error)) from error
        _forget(partial, note)
        raise FetchError("DiskFull", "there is no room on the disk") from error
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise FetchError("SourceUnavailable", _cause(error)) from error
    _check(order, partial, note, digest)
    partial.replace(target)
    note.unlink(missing_ok=True)
    return digest


def _check(order: Order, partial: Path, note: Path, digest: str) -> None:
    problem = None
    with partial.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            problem = FetchError("NotGguf", "what the source sent is no GGUF file", lasting=True)
    if order.digest and digest != order.digest:
        message = f"it has digest {digest}, and {order.digest} was asked for"
        problem = FetchError("DigestMismatch", message, lasting=True)
    if problem is not None:
        _forget(partial, note)
        raise problem


async def _download(
    session: aiohttp.ClientSession, order: Order, partial: Path, note: Path, progress: Progress
) -> str:
    have, etag = _left_over(order, partial, note)
    headers = dict(order.headers)
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": etag}
    async with session.get(order.url, headers=headers) as answer:
        if have and answer.status == 416:
            return await _all_of_it(answer, partial, note, have, progress)
        judge(answer.status)
        if answer.status != 206:
            have = 0
        sums = hashlib.sha256()
        if have:
            await asyncio.to_thread(_add, sums, partial)
        progress.completed = have
        progress.total = have + (answer.content_length or 0) if answer.content_length else 0
        _bounded(order, progress.total)
        _remember(note, order.source, answer.headers.get("ETag"))
        with partial.open("ab" if have else "wb") as file:
            async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
                file.write(chunk)
                sums.update(chunk)
                progress.completed += len(chunk)
                _bounded(order, progress.completed)
            await asyncio.to_thread(_synced, file.fileno(), file.flush)
    if progress.total and progress.completed != progress.total:
        raise FetchError("SourceUnavailable", "the connection ended early")
    return f"sha256:{sums.hexdigest()}"


async def _all_of_it(
    answer: aiohttp.ClientResponse, partial: Path, note: Path, have: int, progress: Progress
) -> str:
    """The digest of what an earlier attempt fetched to its last byte, and was ended before it could
    say so: nothing comes after it (RFC 9110, section 15.5.17)."""
    if answer.headers.get("Content-Range") != f"bytes */{have}":
        _forget(partial, note)
        raise FetchError("SourceUnavailable", "the source has another file now; it begins anew")
    progress.completed = progress.total = have
    return await asyncio.to_thread(digest_of, partial)


def _left_over(order: Order, partial: Path, note: Path) -> tuple[int, str]:
    """What an earlier attempt at the same source left that its server can continue from."""
    try:
        known = json.loads(note.read_text())
        size = partial.stat().st_size
    except (OSError, ValueError):
        return 0, ""
    etag = known.get("etag")
    # a weak validator promises no equal bytes (RFC 9110 section 13.1.5)
    usable = known.get("source") == order.source and etag and not etag.startswith("W/")
    return (size, str(etag)) if usable else (0, "")


def _remember(note: Path, source: str, etag: str | None) -> None:
    note.write_text(json.dumps({"source": source, "etag": etag}))


def judge(status: int) -> None:
    """Raises FetchError for a status other than success."""
    if status in (200, 206):
        return
    if status in (401, 403):
        raise FetchError("SourceDenied", f"the source refuses access (HTTP status {status})")
    if status in (404, 410):
        raise FetchError("SourceMissing", f"there is nothing at the source (HTTP status {status})")
    raise FetchError("SourceUnavailable", f"the source answers with HTTP status {status}")


def _bounded(order: Order, size: int) -> None:
    if size > order.max_bytes:
        message = f"it is larger than its storage of {order.max_bytes} bytes"
        raise FetchError("TooLarge", message, lasting=True)


def digest_of(path: Path) -> str:
    """`sha256:...` of a whole file. Blocks: 8 GiB take about 7 s."""
    sums = hashlib.sha256()
    _add(sums, path)
    return f"sha256:{sums.hexdigest()}"


def _add(sums: "hashlib._Hash", path: Path) -> None:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            sums.update(chunk)


def _synced(number: int, flush: object) -> None:
    assert callable(flush)
    flush()
    os.fsync(number)


def _forget(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _cause(error: BaseException) -> str:
    """Without the URL, which may hold a signature."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect to {error.host}:{error.port}"
    return "it took too long" if isinstance(error, TimeoutError) else type(error).__name__
