"""Where a Model's file is fetched, and with which credentials."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from controlplane.errors import RetryableError, TerminalError
from controlplane.plan import Resolved, Wait, Want
from drivers.s3 import S3Server
from drivers.s3_links import link_to
from resources.model import Model

OLLAMA_REGISTRY: Final = "registry.ollama.ai"
LINK_S: Final = 3600
"""The signature is looked at when a fetch begins, and a fetch that goes on gets a new one."""
Credentials = Mapping[str, bytes] | None


@dataclass(frozen=True, slots=True)
class Found:
    """The source, without any secret."""

    url: str = ""
    oci: bool = False
    """`url` is a manifest in a container registry."""
    secret_name: str | None = None
    """Holds `token`, or `username` and `password`; for a Bucket its keys."""
    bucket: str = ""
    """Name of the bucket on its server, whose Secret says where that is."""
    key: str = ""


def source_of(want: Want[Model]) -> Found | Wait:
    """Where it is, or what it waits for."""
    source = want.record.spec.source
    secret = source.secret_ref.name if source.secret_ref else None
    if secret is not None and want.secrets.get(f"Secret/{secret}") is None:
        return Wait("SecretMissing", f"Secret '{secret}' of spec.source.secretRef does not exist")
    if source.url is not None:
        return Found(source.url, secret_name=secret)
    if source.image is not None:
        return Found(manifest_url(source.image, plain=source.plain_http), True, secret)
    if source.bucket_ref is not None:
        return _in_bucket(want.refs["spec.source.bucketRef"], source.bucket_ref.key)
    return forbidden_registry(want) or Found()


def _in_bucket(found: Resolved, key: str) -> Found | Wait:
    """Needs its Secret alone: one that isn't ready for a moment can still be read from."""
    bucket = found.status.get("bucket")
    if found.binding is None or not bucket:
        why = found.message or f"Bucket '{found.name}' has no access key; add one to its accessKeys"
        return Wait("BucketNotReady", why)
    return Found(secret_name=found.binding.secret_name, bucket=str(bucket), key=key)


def forbidden_registry(want: Want[Model]) -> Wait | None:
    """The server pulls from inside the platform's network, and so not from wherever a tenant says.

    A name is [host/][owner/]name; a host has a dot or a port, or is followed by two parts
    (https://github.com/ollama/ollama/blob/main/types/model/name.go).
    """
    name = want.record.spec.source.name or ""
    parts = name.lower().split("/")
    host = parts[0] if len(parts) > 2 or (parts[1:] and {".", ":"} & set(parts[0])) else ""
    service = want.services[want.record.spec.service]
    settings = service.spec.get("settings") or {}
    allowed = str(settings.get("registries", "")).lower().split(",")
    if host in ("", OLLAMA_REGISTRY, *allowed):
        return None
    message = (
        f"registry '{host}' of spec.source.name is not one that Platform '{service.name}' may pull "
        "from; an administrator adds it to its spec.settings.registries"
    )
    return Wait("RegistryNotAllowed", message)


def manifest_url(image: str, *, plain: bool) -> str:
    """https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests"""
    name, _, digest = image.partition("@")
    host, slash, path = name.partition("/")
    if not slash or not (set(".:") & set(host) or host == "localhost"):
        raise TerminalError(
            f"cannot fetch image '{image}': name its registry, such as "
            "'registry.example.org/models/tiny:1'",
            reason="InvalidSource",
        )
    path, colon, tag = path.partition(":")
    reference = digest or (tag if colon else "latest")
    return f"{'http' if plain else 'https'}://{host}/v2/{path}/manifests/{reference}"


def located(found: Found, values: Credentials, now: datetime) -> tuple[str, dict[str, str]]:
    """URL and headers to fetch it with. Both may hold secrets: for the order alone."""
    if found.secret_name is None:
        return found.url, {}
    if values is None:
        raise RetryableError(
            f"cannot read Secret '{found.secret_name}': it is gone", reason="SecretMissing"
        )
    if found.bucket:
        server = _server(found.secret_name, values)
        return link_to(server, found.bucket, found.key, now, expires_s=LINK_S), {}
    return found.url, {"Authorization": authorization(found.secret_name, values)}


def _server(name: str, values: Mapping[str, bytes]) -> S3Server:
    text = {key: value.decode(errors="replace") for key, value in values.items()}
    try:
        return S3Server(text["endpoint"], text["access-key"], text["secret-key"], text["region"])
    except KeyError:
        raise RetryableError(
            f"cannot use Secret '{name}' of the Bucket: it is not complete yet",
            reason="SecretMissing",
        ) from None


def authorization(name: str, values: Mapping[str, bytes]) -> str:
    """Bearer with `token`, else Basic. Raises TerminalError for a Secret with neither."""
    token = values.get("token", b"").decode(errors="replace").strip()
    if token:
        if not token.isprintable():
            raise _unfit(name)
        return f"Bearer {token}"
    if "username" not in values or "password" not in values:
        raise _unfit(name)
    pair = values["username"] + b":" + values["password"]
    return f"Basic {base64.b64encode(pair).decode()}"


def _unfit(name: str) -> TerminalError:
    return TerminalError(
        f"cannot use Secret '{name}': write the key 'token', or 'username' and 'password'",
        reason="SecretInvalid",
    )
