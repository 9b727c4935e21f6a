"""Where a Model's file is fetched, and with which credentials."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from controlplane.errors import RetryableError, TerminalError
from controlplane.plan import Wait, Want
from resources.model import Model

Credentials = Mapping[str, bytes] | None


@dataclass(frozen=True, slots=True)
class Found:
    """The source, without any secret."""

    url: str = ""
    oci: bool = False
    """`url` is a manifest in a container registry."""
    secret_name: str | None = None
    """Holds `token`, or `username` and `password`; for a Bucket its keys."""


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
    return Found()


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
    del now
    if found.secret_name is None:
        return found.url, {}
    if values is None:
        raise RetryableError(
            f"cannot read Secret '{found.secret_name}': it is gone", reason="SecretMissing"
        )
    return found.url, {"Authorization": authorization(found.secret_name, values)}


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
