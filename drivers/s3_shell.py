"""Quotas on SeaweedFS: by the shell in its container, since neither S3 nor IAM knows them.

Measured on 4.48: a quota only marks; the bucket is closed for writes by `s3.bucket.quota.enforce`,
which has to be run, and opened again by it or by taking the quota off.
"""

import math
import re
from typing import Final

from controlplane.clock import Clock, SystemClock
from controlplane.errors import RetryableError, TerminalError
from drivers.containers import Containers
from drivers.s3 import QuotaState

SHELL: Final = ("weed-shell",)
"""In our image: `weed shell` with the certificates of that start."""
TIMEOUT_S: Final = 20.0
MIB: Final = 1 << 20
_NAME: Final = re.compile(r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
_LINE: Final = re.compile(r"^\s*(?P<name>\S+)\tsize:\d+\tlogical:(?P<size>\d+)\b")
_QUOTA: Final = re.compile(r"\tquota:(\d+)\b")
_DUE: Final = re.compile(r"changing bucket (\S+) to ")
LIST: Final = "s3.bucket.list\ns3.bucket.quota.enforce"
"""Without -apply the second only says what it would do."""


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

    async def _change(self, container: str, command: str, what: str) -> None:
        try:
            await self._run(container, command, what)
        finally:  # it may have been carried out whatever came of it
            self._changes += 1
            self._told.pop(container, None)

    async def _run(self, container: str, command: str, what: str) -> str:
        code, said = await self._containers.exec_container(
            container, SHELL, stdin=f"{command}\n".encode(), timeout_s=TIMEOUT_S
        )
        # the shell ends with 0 whatever its commands do, and says `error:`
        if code != 0 or "error:" in said:
            raise RetryableError(
                f"cannot {what}: the server's shell refused",
                retry_after_s=5.0,
                reason="ShellRefused",
            )
        return said
