"""What is seen to on S3 servers of our own beside the passes: kept buckets, and lifecycle rules.

Not here: users without a Bucket, which the sweep removes (outside.py). An external server is left
alone: it may have buckets of another installation, and it carries out rules by itself.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from controlplane.engine.port import Outside
from controlplane.errors import ControlPlaneError, RetryableError
from controlplane.plan import SecretReader
from controlplane.records import View
from drivers.s3 import S3, BucketState, S3Quotas, S3Server
from reconcilers._bucketseen import owner_of
from reconcilers._ownservers import Own, own_servers, s3_server
from resources.bucket import name_on_server

BUCKETS: Final = "Bucket"
LIFECYCLE: Final = "lifecycle"
OPEN_BUCKET: Final = "open bucket"


@dataclass(frozen=True, slots=True)
class S3BucketCloser:
    """Closes buckets that outlived their record while it could not close them.

    A Bucket with deletionPolicy Retain takes its policy and rules off as it goes. One that goes
    while its server has no record waits for nothing: what it let in, or has removed, is found when
    the server is back. Of a bucket nothing is taken but that, and a record that wants it sets it
    again.
    """

    s3: S3
    values: SecretReader
    view: View

    async def list_owned(self) -> Sequence[Outside]:
        found: list[Outside] = []
        for platform in own_servers(self.view, "s3", "s3"):
            # one that doesn't answer, or whose key can't be read, keeps no other sweep from being
            # made
            with contextlib.suppress(ControlPlaneError):
                for name in await self._left_open(platform):
                    place = f"{platform.name}/{name}"
                    found.append(Outside("", "", "", name, OPEN_BUCKET, place))
        return found

    async def remove(self, item: Outside, /) -> None:
        server_name, _, bucket = item.id.partition("/")
        for platform in own_servers(self.view, "s3", "s3"):
            if platform.name == server_name:
                await self._close(platform, bucket)

    async def stop_rules(self, platform: Own) -> None:
        """Before rules are carried out, for those that nobody has any more not to be. What lets
        others in stays for the sweep, which knows a wrong database when it sees one."""
        if await s3_server(self.values, platform) is None:
            message = f"cannot look for kept buckets: Secret '{platform.secret}' has no keys"
            raise RetryableError(message, reason="ServiceCredentialsMissing")
        for bucket in await self._left_open(platform):
            await self._close(platform, bucket, but_policy=True)

    async def _left_open(self, platform: Own) -> list[str]:
        server = await s3_server(self.values, platform)
        if server is None:
            return []
        names = set(await self.s3.list_buckets(server)) - self._live(platform)
        return [name for name in sorted(names) if await self._seen_open(server, name) is not None]

    async def _seen_open(self, server: S3Server, name: str) -> BucketState | None:
        """What a record has left open; None: it is closed, or was no record's."""
        try:
            state = await self.s3.observe_bucket(server, name)
        except RetryableError as exc:
            if exc.reason != "BucketDenied":
                raise
            return None  # to the platform, too: nothing can be taken off
        if state is None or owner_of(state) is None:
            return None
        return state if state.policy is not None or state.lifecycle else None

    async def _close(self, platform: Own, bucket: str, *, but_policy: bool = False) -> None:
        server = await s3_server(self.values, platform)
        if server is None or bucket in self._live(platform):
            return
        state = await self._seen_open(server, bucket)
        if state is not None and state.policy is not None and not but_policy:
            await self.s3.ensure_policy(server, bucket, None)
        if state is not None and state.lifecycle:
            await self.s3.ensure_lifecycle(server, bucket, ())

    def _live(self, platform: Own) -> set[str]:
        """Names of buckets on that server that a record wants, whosever they are."""
        return {
            stored.obj["spec"].get("bucketName")
            or name_on_server(stored.key.namespace, stored.key.name)
            for stored in self.view.list(BUCKETS)
            if stored.obj["spec"].get("server", "s3") == platform.name
        }


@dataclass(frozen=True, slots=True)
class LifecycleChore:
    """Has lifecycle rules carried out on every server that runs and has a bucket with rules.

    No step of a Bucket: what is due comes with time alone, and one command is for all of a server's
    buckets.
    """

    quotas: S3Quotas
    closer: S3BucketCloser
    view: View
    name: str = LIFECYCLE

    async def do(self) -> int:
        """At how many servers; one that fails keeps no other from it, and is raised then."""
        done = 0
        failed: ControlPlaneError | None = None
        for platform in self._servers():
            try:
                await self.closer.stop_rules(platform)
                await self.quotas.ensure_expired(platform.container)
            except ControlPlaneError as exc:
                failed = exc
            else:
                done += 1
        if failed is not None:
            raise failed
        return done

    def _servers(self) -> list[Own]:
        ruled = {
            stored.obj["spec"].get("server", "s3")
            for stored in self.view.list(BUCKETS)
            if stored.obj["spec"].get("lifecycle")
        }
        servers = own_servers(self.view, "s3", "s3")
        return [each for each in servers if each.container and each.name in ruled]
