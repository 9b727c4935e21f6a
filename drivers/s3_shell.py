"""Quotas on SeaweedFS: by the shell in its container, since neither S3 nor IAM knows them.

Measured on 4.48: a quota only marks; the bucket is closed for writes by `s3.bucket.quota.enforce`,
which has to be run, and opened again by it or by taking the quota off. Lifecycle rules are kept and
carried out by nobody, either: `s3.lifecycle.run-shard` does it, shard by shard (docs/drivers.md).
"""

import math
import re
from typing import Final

from controlplane.clock import Clock, SystemClock
from controlplane.errors import ControlPlaneError, RetryableError, TerminalError
from drivers.containers import Containers
from drivers.s3 import QuotaState

SHELL: Final = ("weed-shell",)
"""In our image: `weed shell` with the certificates of that start."""
GATEWAY: Final = "127.0.0.1:18333"
"""Its inner gRPC port, which the shell has a certificate for."""
REFUSED: Final = "ShellRefused"
TIMEOUT_S: Final = 20.0
MIB: Final = 1 << 20
_NAME: Final = re.compile(r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
_LINE: Final = re.compile(r"^\s*(?P<name>\S+)\tsize:\d+\tlogical:(?P<size>\d+)\b")
_QUOTA: Final = re.compile(r"\tquota:(\d+)\b")
_DUE: Final = re.compile(r"changing bucket (\S+) to ")
LIST: Final = "s3.bucket.list\ns3.bucket.quota.enforce"
"""Without -apply the second only says what it would do."""
_EXPIRING: Final = "carry out the buckets' lifecycle rules"
SHARDS: Final = range(16)
"""What SeaweedFS divides the work on lifecycle rules into, by the names of objects."""
EXPIRING_S: Final = 600.0
"""For one shard. The first time, and after each change of a rule, it looks at all objects of the
buckets with rules: 7,000 a second on a busy host. Then at the changes since, and it removes 300 a
second there (4.48, two cores at a load of 10)."""


class ShellQuotas:
    """Servers in containers of ours."""

    def __init__(self, containers: Containers, clock: Clock | None = None) -> None:
        self._containers = containers
        self._clock = clock or SystemClock()
        # few: a server is in another container only when its image or limits are others
        self._told: dict[str, tuple[float, dict[str, QuotaState]]] = {}
        """By container: when it was asked, and what it said."""
        self._changes = 0

    async def list_quotas(
        self, container: str, /, *, max_age_s: float = 0.0
    ) -> dict[str, QuotaState]:
        asked_at = self._clock.monotonic()
        told_at, told = self._told.get(container, (-math.inf, {}))
        if asked_at - told_at < max_age_s:
            return told
        changes = self._changes
        said = await self._run(container, LIST, "list the buckets' quotas")
        due = set(_DUE.findall(said))
        found: dict[str, QuotaState] = {}
        for line in said.splitlines():
            if (bucket := _LINE.match(line)) is not None:
                quota = _QUOTA.search(line)
                name, size = bucket["name"], int(bucket["size"])
                found[name] = QuotaState(size, int(quota[1]) if quota else 0, name in due)
        if changes == self._changes:  # else it may be from before what was set meanwhile
            self._told[container] = asked_at, found
        return found

    async def ensure_quota(self, container: str, bucket: str, quota_bytes: int, /) -> None:
        if not _NAME.match(bucket):  # it becomes a word of a command
            raise TerminalError(f"cannot set the quota of bucket '{bucket}': no bucket's name")
        mib = -(-quota_bytes // MIB)
        what = f"-op=set -sizeMB={mib}" if mib else "-op=remove"
        command = f"s3.bucket.quota -name={bucket} {what}"
        await self._change(container, command, f"set the quota of bucket '{bucket}'")

    async def ensure_enforced(self, container: str, /) -> None:
        await self._change(container, "s3.bucket.quota.enforce -apply", "enforce the quotas")

    async def ensure_expired(self, container: str, /) -> None:
        failed: ControlPlaneError | None = None
        for shard in SHARDS:
            began_s = self._clock.monotonic()
            try:
                await self._run(container, _expire(shard), _EXPIRING, EXPIRING_S + TIMEOUT_S)
            except RetryableError as exc:
                if exc.reason != REFUSED:
                    raise  # the others would be waited for as long, and for nothing
                failed = exc
            if self._clock.monotonic() - began_s >= EXPIRING_S:  # it ends then, and says nothing
                failed = _refused(_EXPIRING, "did not get through it all; it goes on next time")
        if failed is not None:
            raise failed

    async def _change(self, container: str, command: str, what: str) -> None:
        try:
            await self._run(container, command, what)
        finally:  # it may have been carried out whatever came of it
            self._changes += 1
            self._told.pop(container, None)

    async def _run(
        self, container: str, command: str, what: str, timeout_s: float = TIMEOUT_S
    ) -> str:
        code, said = await self._containers.exec_container(
            container,
            SHELL,
            stdin=f"{command}\n".encode(),
            timeout_s=timeout_s,
            apart=timeout_s > TIMEOUT_S,
        )
        # the shell ends with 0 whatever its commands do, and says `error:`
        if code != 0 or "error:" in said:
            raise _refused(what, "refused")
        return said


def _expire(shard: int) -> str:
    """0 events: all there are, and not the first 1,000."""
    return (
        f"s3.lifecycle.run-shard -shard={shard} -s3={GATEWAY} -events=0 -runtime={EXPIRING_S:.0f}s"
    )


def _refused(what: str, why: str) -> RetryableError:
    message = f"cannot {what}: the server's shell {why}"
    return RetryableError(message, retry_after_s=5.0, reason=REFUSED)
