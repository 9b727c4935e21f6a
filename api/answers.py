"""Turns what a handler found into the representation the client asked for.

JSON always works. Tables and metadata-only representations are asked for by `Accept` parameters;
tables.py renders them. Errors are always a plain JSON Status.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from aiohttp import web

from api import errors

JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class MediaType:
    """One alternative of an Accept header."""

    name: str
    params: Mapping[str, str]

    @property
    def convert(self) -> str:
        """What to convert to: Table, PartialObjectMetadata, APIGroupDiscoveryList, or nothing."""
        return self.params.get("as", "")


def accepted(header: str | None) -> tuple[MediaType, ...]:
    """The alternatives of an Accept header in the client's order; absent means JSON."""
    if not header:
        return (MediaType(JSON, {}),)
    return tuple(_media_type(part) for part in header.split(",") if part.strip())


def _media_type(text: str) -> MediaType:
    name, *params = (part.strip() for part in text.split(";"))
    pairs = (param.partition("=") for param in params)
    return MediaType(name.lower(), {key.strip(): value.strip() for key, _, value in pairs})


def plain(media: MediaType) -> bool:
    """True if plain JSON answers this alternative. Protobuf is asked for with JSON beside it."""
    return media.name in (JSON, "*/*", "application/*") and not media.convert


def json_response(
    body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Any JSON document."""
    return web.Response(body=orjson.dumps(body), status=status, headers=headers, content_type=JSON)


def error_response(error: errors.StatusError) -> web.Response:
    return json_response(error.wire(), status=error.code, headers=error.headers)


def warning_headers(texts: Iterable[str]) -> Iterable[str]:
    """RFC 7234 Warning values; kubectl prints them as `Warning: text`."""
    for text in dict.fromkeys(texts):
        clean = text.replace("\\", "\\\\").replace('"', '\\"')
        clean = "".join(c if " " <= c <= "~" else " " for c in clean)
        yield f'299 - "{clean}"'
