"""Servers of our own as the sweep and the chores reach them: where they are, and as whom."""

from dataclasses import dataclass
from typing import Final

from controlplane.plan import SecretReader
from controlplane.records import View
from drivers.s3 import S3Server
from reconcilers._credentials import is_credential
from resources.meta import PLATFORM_NAMESPACE

PLATFORM: Final = "Platform"


@dataclass(frozen=True, slots=True)
class Own:
    """A server of our own."""

    name: str
    """Of its Platform record."""
    url: str
    secret: str
    """Name of the Secret with its keys."""
    container: str
    """Id of its container."""


async def s3_server(values: SecretReader, platform: Own) -> S3Server | None:
    """None: its Secret has no key."""
    found = await login(values, platform, "access-key", "secret-key")
    return S3Server(platform.url, *found) if found else None


async def login(values: SecretReader, platform: Own, *keys: str) -> tuple[str, ...]:
    """Those keys of its Secret; none if one is missing, or is what no server has as a key."""
    held = await values.read("Secret", PLATFORM_NAMESPACE, platform.secret) or {}
    found = [held.get(key, b"").strip().decode(errors="replace") for key in keys]
    return tuple(found) if all(is_credential(each) for each in found) else ()


def own_servers(view: View, service: str, port: str) -> list[Own]:
    """The Platform records of a service that run. One that somebody else runs is not among them:
    it may have things of another installation. By its spec, and by the container that its status
    must tell of: while an edit that takes `external` away waits, the rest of it is the other's."""
    found = []
    for stored in view.list(PLATFORM, PLATFORM_NAMESPACE):
        spec, status = stored.obj["spec"], stored.obj.get("status") or {}
        address = (status.get("endpoints") or {}).get(port)
        secret = (status.get("secretRef") or {}).get("name")
        container = status.get("containerId")
        if spec.get("service") != service or spec.get("external"):
            continue
        if address and secret and container:
            url = address if "://" in address else f"http://{address}"
            found.append(Own(stored.key.name, url, secret, str(container)))
    return found
