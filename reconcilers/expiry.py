"""Lifecycle rules of Buckets on servers of our own, which carry them out only when told.

No step of a Bucket: what is due comes with time alone, and one command is for all of a server's
buckets. An external server sees to its rules itself.
"""

from dataclasses import dataclass
from typing import Final

from controlplane.errors import ControlPlaneError
from controlplane.records import View
from drivers.s3 import S3Quotas
from resources.meta import PLATFORM_NAMESPACE

NAME: Final = "lifecycle"


@dataclass(frozen=True, slots=True)
class LifecycleChore:
    """Has them carried out on every server that runs and has a bucket with rules."""

    quotas: S3Quotas
    view: View
    name: str = NAME

    async def do(self) -> int:
        """At how many servers; one that fails keeps no other from it, and is raised then."""
        done, failed = 0, None
        for container in self._containers():
            try:
                await self.quotas.ensure_expired(container)
            except ControlPlaneError as exc:
                failed = exc
            else:
                done += 1
        if failed is not None:
            raise failed
        return done

    def _containers(self) -> list[str]:
        ruled = {
            stored.obj["spec"].get("server", "s3")
            for stored in self.view.list("Bucket")
            if stored.obj["spec"].get("lifecycle")
        }
        found = []
        for stored in self.view.list("Platform", PLATFORM_NAMESPACE):
            spec, status = stored.obj["spec"], stored.obj.get("status") or {}
            container = str(status.get("containerId") or "")
            own = spec.get("service") == "s3" and not spec.get("external")
            if own and container and stored.key.name in ruled:
                found.append(container)
        return found
