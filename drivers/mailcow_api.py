"""Mailcow's HTTP API: one call, its answer, and what its many ways of saying no mean.

From its published description (data/web/api/openapi.yaml of mailcow-dockerized) and the code behind
it. Business failures come with status 200, as a list of entries of which some may have succeeded;
a missing object is `{}` or `[]`; authentication is an object with a status of its own.
"""

import asyncio
import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

from controlplane.errors import DriverUnavailableError, RetryableError, TerminalError
from drivers.mail import MailServer

TIMEOUT_S: Final = 15.0
"""It hashes passwords and restarts parts of itself inside a request."""
MOST_BYTES: Final = 8 << 20
"""All aliases of one installation are one answer, about 500 bytes each."""

_TAKEN: Final = ("object_exists", "is_alias", "is_alias_or_mailbox", "is_spam_alias")
_PASSES: Final = {
    **dict.fromkeys(_TAKEN, "NameTaken"),
    "domain_exists": "NameTaken",
    "domain_not_found": "DomainMissing",
    "domain_not_empty": "InUse",
    "mailboxes_in_use": "InUse",
    "aliases_in_use": "InUse",
    "max_mailbox_exceeded": "Full",
    "max_alias_exceeded": "Full",
    "mailbox_quota_exceeded": "Full",
    "mailbox_quota_left_exceeded": "Full",
    "redis_error": "ServerError",
}
"""msg code -> reason, for what may pass; any other code is one that only an edit mends."""


async def get(server: MailServer, path: str) -> Any:
    """The object or list at `get/<path>`; None where there is nothing."""
    answer = await _request(server, "GET", f"get/{path}", None)
    if isinstance(answer, dict) and answer.get("type") in ("error", "danger"):
        _refuse(f"get {path}", [answer])
    return answer or None


async def items(server: MailServer, path: str) -> list[Mapping[str, Any]]:
    """The list at `get/<path>`; `{}` is the empty one."""
    answer = await get(server, path)
    if isinstance(answer, dict):
        # PHP turns a list with holes into an object
        answer = list(answer.values())
    return [each for each in answer or () if isinstance(each, dict)]


async def add(server: MailServer, what: str, attributes: Mapping[str, Any]) -> None:
    await _change(server, f"add/{what}", dict(attributes))


async def edit(
    server: MailServer, what: str, names: Sequence[str], attributes: Mapping[str, Any]
) -> None:
    body = {"items": list(names), "attr": dict(attributes)}
    await _change(server, f"edit/{what}", body)


async def delete(server: MailServer, what: str, names: Sequence[str]) -> None:
    await _change(server, f"delete/{what}", list(names))


async def _change(server: MailServer, path: str, body: Any) -> None:
    """Succeeds only if every entry of the answer does, or is a mere warning."""
    answer = await _request(server, "POST", path, body)
    entries = answer if isinstance(answer, list) else [answer]
    failed = [each for each in entries if not _went_well(each)]
    if failed or not entries:
        _refuse(path.replace("/", " "), failed)


def _went_well(entry: Any) -> bool:
    return isinstance(entry, dict) and entry.get("type") in ("success", "warning", "info")


async def _request(server: MailServer, method: str, path: str, body: Any) -> Any:
    # imported where it is needed: most installations have no Mailcow
    import aiohttp

    url = f"{server.endpoint.rstrip('/')}/api/v1/{path}"
    headers = {"X-API-Key": server.api_key, "Accept": "application/json"}
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(headers=headers, timeout=timeout) as session,
            # json= sets the content type without which it doesn't read the body
            session.request(method, url, json=body, allow_redirects=False) as response,
        ):
            raw = await _read(response.content)
            status = response.status
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as exc:
        raise _away(f"{type(exc).__name__} at {server.endpoint}") from exc
    return _decoded(server, status, raw)


async def _read(content: Any) -> bytes:
    found = bytearray()
    async for chunk in content.iter_chunked(65536):
        found += chunk
        if len(found) > MOST_BYTES:
            raise ValueError
    return bytes(found)


def _decoded(server: MailServer, status: int, raw: bytes) -> Any:
    if status in (401, 403):
        # Each wrong key counts towards a ban: wait for a person.
        raise TerminalError(
            f"cannot use the mail server at {server.endpoint}: it refuses the API key (HTTP "
            f"{status}); put a read-write key into the service's Secret, and allow this host",
            reason="AccessDenied",
        )
    if status != 200:
        raise _away(f"HTTP {status} at {server.endpoint}")
    try:
        return json.loads(raw)
    except ValueError as exc:
        raise _away(f"an answer that is no JSON at {server.endpoint}") from exc


def _refuse(what: str, failed: Sequence[Any]) -> NoReturn:
    codes = sorted({_code(each) for each in failed})
    text = f"cannot {what} on the mail server: {', '.join(codes) or 'it says nothing'}"
    if codes == ["access_denied"]:
        raise TerminalError(text, reason="AccessDenied")
    for code in codes:
        if code in _PASSES:
            raise RetryableError(text, reason=_PASSES[code])
    if not codes or not all(code.replace("_", "").isalnum() for code in codes):
        raise RetryableError(text, reason="ServerError")
    raise TerminalError(text, reason="Refused")


def _code(entry: Any) -> str:
    """`msg` is a word, or a list that begins with one; its arguments may repeat what was sent."""
    message = entry.get("msg") if isinstance(entry, dict) else None
    if isinstance(message, list) and message:
        message = message[0]
    return " ".join(str(message or "no reason").split())[:80]


def _away(why: str) -> DriverUnavailableError:
    return DriverUnavailableError("mailcow", f"cannot reach the mail server: {why}")


async def opens(imap: str, user: str, password: str) -> bool | None:
    """Whether a password opens a mailbox, asked over IMAP (`imaps://host:port`, or `imap://` where
    there is no TLS); None: it can't be asked now."""
    scheme, _, place = imap.partition("://")
    host, _, port = place.rpartition(":")
    try:
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, int(port), ssl=scheme == "imaps")
            try:
                await reader.readline()
                writer.write(b"a AUTHENTICATE PLAIN\r\n")
                answer = await _answer(reader)
                if answer.startswith(b"+"):
                    writer.write(base64.b64encode(f"\0{user}\0{password}".encode()) + b"\r\n")
                    answer = await _answer(reader)
                writer.write(b"b LOGOUT\r\n")
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return None
    if answer.startswith(b"a OK"):
        return True
    # NO with [UNAVAILABLE] is a server in trouble (RFC 5530), not a wrong password
    return False if answer.startswith(b"a NO") and b"[UNAVAILABLE]" not in answer else None


async def _answer(reader: asyncio.StreamReader) -> bytes:
    """The next line that is about our command."""
    while line := await reader.readline():
        if line.startswith((b"a ", b"+")):
            return line
    return b""
