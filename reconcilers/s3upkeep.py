"""What is seen to on S3 servers of our own beside the passes: kept buckets, and lifecycle rules.

Not here: users without a Bucket, which the sweep removes (outside.py). An external server is left
alone: it may have buckets of another installation, and it carries out rules by itself.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from controlplane.clock import Clock
from controlplane.engine.port import Guard, Outside
from controlplane.errors import ControlPlaneError, RetryableError, StaleEpochError
from controlplane.plan import SecretReader
from controlplane.records import View
from drivers.s3 import S3, BucketState, S3Quotas, S3Server
from reconcilers._bucketseen import owner_of
from reconcilers._ownservers import Own, own_servers, s3_server
from resources.bucket import name_on_server

BUCKETS: Final = "Bucket"
LIFECYCLE: Final = "lifecycle"
NAMESPACES: Final = "Namespace"
OPEN_BUCKET: Final = "open bucket"
LOOK_AGAIN_S: Final = 3600.0
"""At a bucket without a record that was closed: nobody but an administrator opens it."""
CLOSED_MAX: Final = 10_000


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
    clock: Clock
    _closed: dict[tuple[Own, str], float] = field(default_factory=dict, repr=False, compare=False)
    """When a bucket without a record was found closed, or no record's: six requests each."""

    async def list_owned(self) -> Sequence[Outside]:
        """Those that let others in. Rules alone harm nothing until they are carried out, and are
        taken off right before that."""
        found: list[Outside] = []
        servers = own_servers(self.view, "s3", "s3")
        self._forget(servers)
        for platform in servers:
            # one that doesn't answer, or whose key can't be read, keeps no other sweep from being
            # made
            with contextlib.suppress(ControlPlaneError):
                found += await self._left_open(platform)
        return found

    async def remove(self, item: Outside, /) -> None:
        server_name, _, bucket = item.id.partition("/")
        for platform in own_servers(self.view, "s3", "s3"):
            if platform.name == server_name:
                await self._close(platform, bucket)

    async def stop_rules(self, platform: Own, guard: Guard) -> None:
        """Before rules are carried out, for those that nobody has any more not to be. What lets
        others in stays for the sweep, which knows a wrong database when it sees one.

        Raises RetryableError where that can't be told, also of one bucket (BucketDenied): its rules
        would be carried out with the others."""
        server = await s3_server(self.values, platform)
        if server is None:
            message = f"cannot look for kept buckets: Secret '{platform.secret}' has no keys"
            raise RetryableError(message, reason="ServiceCredentialsMissing")
        for bucket in await self._unwanted(platform, server):
            state = await self._seen_kept(server, bucket)
            if state is not None and state.lifecycle and bucket not in self._live(platform):
                guard()
                await self.s3.ensure_lifecycle(server, bucket, ())

    async def _left_open(self, platform: Own) -> list[Outside]:
        server = await s3_server(self.values, platform)
        if server is None:
            return []
        found: list[Outside] = []
        for name in await self._unwanted(platform, server):
            if (platform, name) in self._closed:
                continue
            try:
                state = await self._seen_kept(server, name)
            except RetryableError as exc:
                if exc.reason != "BucketDenied":
                    raise
                # to the platform, too: nothing can be taken off until somebody has mended that
                continue
            if state is None or state.policy is None:
                self._remember(platform, name)
                continue
            place = f"{platform.name}/{name}"
            found.append(Outside("", "", "", name, OPEN_BUCKET, place, known=self._known(state)))
        return found

    async def _unwanted(self, platform: Own, server: S3Server) -> list[str]:
        """Buckets that no record wants, whosever they are."""
        return sorted(set(await self.s3.list_buckets(server)) - self._live(platform))

    async def _seen_kept(self, server: S3Server, name: str) -> BucketState | None:
        """None: it is not there, or was no record's."""
        state = await self.s3.observe_bucket(server, name)
        return state if state is not None and owner_of(state) is not None else None

    def _known(self, state: BucketState) -> bool:
        """Whether it was made for a namespace of this database: the UID tells."""
        uid = (owner_of(state) or "").partition("/")[0]
        return any(stored.uid == uid for stored in self.view.list(NAMESPACES))

    async def _close(self, platform: Own, bucket: str) -> None:
        server = await s3_server(self.values, platform)
        if server is None or bucket in self._live(platform):
            return
        state = await self._seen_kept(server, bucket)
        if state is not None and state.policy is not None:
            await self.s3.ensure_policy(server, bucket, None)
        if state is not None and state.lifecycle:
            await self.s3.ensure_lifecycle(server, bucket, ())

    def _remember(self, platform: Own, name: str) -> None:
        self._closed[platform, name] = self.clock.monotonic()
        while len(self._closed) > CLOSED_MAX:
            del self._closed[next(iter(self._closed))]

    def _forget(self, servers: Sequence[Own]) -> None:
        """What was long ago, or may have been opened since: by a record, on a server that was
        away."""
        live = {platform: self._live(platform) for platform in servers}
        until_s = self.clock.monotonic() - LOOK_AGAIN_S
        for (platform, name), at_s in tuple(self._closed.items()):
            if at_s <= until_s or platform not in live or name in live[platform]:
                del self._closed[platform, name]

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

    async def do(self, guard: Guard, /) -> int:
        """At how many servers; one that fails keeps no other from it, and is raised then."""
        done = 0
        failed: ControlPlaneError | None = None
        for platform in self._servers():
            try:
                await self.closer.stop_rules(platform, guard)
                guard()
                await self.quotas.ensure_expired(platform.container)
            except StaleEpochError:
                raise
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
        return [each for each in servers if each.name in ruled]
