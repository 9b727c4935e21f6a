"""Finds a model's file in a container registry: from the manifest to the one layer that it is.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md, and for the token that public
registries want, https://distribution.github.io/distribution/spec/auth/token/.
"""

import re
from dataclasses import replace
from typing import Any

import aiohttp
from fetch import FetchError, Order, judge

ACCEPT = (
    "application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json, "
    "application/vnd.oci.image.index.v1+json"
)
MODEL_TYPES = frozenset(
    {
        "application/vnd.ollama.image.model",
        "application/vnd.docker.ai.gguf.v3",
        "application/vnd.cncf.model.weight.v1.raw",
        "application/gguf",
    }
)
MANIFEST_BYTES = 4 << 20
"""The distribution specification's own limit."""
_FIELD = re.compile(r'(\w+)="([^"]*)"')


async def in_registry(session: aiohttp.ClientSession, order: Order) -> Order:
    """The same order, for the blob behind its manifest. Raises FetchError."""
    headers = dict(order.headers)
    manifest = await _manifest(session, order.url, headers)
    for each in _objects(manifest.get("manifests"))[:1]:
        beside = order.url.rpartition("/")[0]
        manifest = await _manifest(session, f"{beside}/{each.get('digest')}", headers)
    layers = _objects(manifest.get("layers"))
    named = [layer for layer in layers if layer.get("mediaType") in MODEL_TYPES]
    found = max(named or layers, key=_size, default=None)
    if found is None:
        raise FetchError("SourceMissing", "there is no file in the image", lasting=True)
    digest = str(found.get("digest"))
    if order.digest and digest != order.digest:
        message = f"it has digest {digest}, and {order.digest} was asked for"
        raise FetchError("DigestMismatch", message, lasting=True)
    url = re.sub("/manifests/[^/]+$", f"/blobs/{digest}", order.url)
    return replace(order, url=url, headers=headers, digest=digest)


def _objects(found: Any) -> list[dict[str, Any]]:
    """The objects of a list; Go writes an empty one as null."""
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _size(layer: dict[str, Any]) -> int:
    size = layer.get("size")
    return size if isinstance(size, int) else 0


async def _manifest(
    session: aiohttp.ClientSession, url: str, headers: dict[str, str]
) -> dict[str, Any]:
    """The manifest; `headers` gets the token that the registry wanted."""
    for _ in range(2):
        async with session.get(url, headers={**headers, "Accept": ACCEPT}) as answer:
            asked = answer.headers.get("WWW-Authenticate", "")
            if answer.status == 401 and asked.lower().startswith("bearer "):
                headers["Authorization"] = f"Bearer {await _token(session, asked, headers)}"
                continue
            judge(answer.status)
            if (answer.content_length or 0) > MANIFEST_BYTES:
                raise FetchError("SourceUnavailable", "its manifest is too large")
            found = await answer.json(content_type=None)
            if not isinstance(found, dict):
                raise FetchError("SourceUnavailable", "its manifest is no JSON object")
            return found
    raise FetchError("SourceDenied", "the registry refuses its own token")


async def _token(session: aiohttp.ClientSession, asked: str, headers: dict[str, str]) -> str:
    fields = dict(_FIELD.findall(asked))
    realm = fields.pop("realm", "")
    if not realm.startswith(("https://", "http://")):
        raise FetchError("SourceUnavailable", "the registry names no place for tokens")
    wanted = {key: fields[key] for key in ("service", "scope") if key in fields}
    async with session.get(realm, params=wanted, headers=headers) as answer:
        judge(answer.status)
        body = await answer.json(content_type=None)
    if not isinstance(body, dict):
        raise FetchError("SourceUnavailable", "the registry's token is no JSON object")
    return str(body.get("token") or body.get("access_token") or "")
