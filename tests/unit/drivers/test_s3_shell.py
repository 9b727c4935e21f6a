"""What the shell of a server is asked: lists of quotas that may be old, and rules, in parts."""

import asyncio
from typing import Any

from controlplane.errors import RetryableError
from drivers.s3_shell import LIST, ShellQuotas
from tests.clock import ManualClock


class Shell:
    """A server with one bucket, whose lists are slow to arrive."""

    def __init__(self) -> None:
        self.mib = 64
        self.arrives = asyncio.Event()

    async def exec_container(
        self,
        container_id: str,
        argv: tuple[str, ...],
        /,
        *,
        stdin: bytes = b"",
        timeout_s: float,
        apart: bool = False,
    ) -> tuple[int, str]:
        if stdin.decode().strip() != LIST:
            self.mib = 0
            return 0, ""
        said = f"  assets\tsize:0\tlogical:0\tquota:{self.mib << 20}\n"
        await self.arrives.wait()
        return 0, said


async def test_a_list_from_before_a_change_is_not_kept() -> None:
    shell: Any = Shell()
    quotas = ShellQuotas(shell)
    listing = asyncio.create_task(quotas.list_quotas("c0ffee", max_age_s=300))
    await asyncio.sleep(0)
    await quotas.ensure_quota("c0ffee", "assets", 0)
    shell.arrives.set()
    assert (await listing)["assets"].quota_bytes == 64 << 20
    after = await quotas.list_quotas("c0ffee", max_age_s=300)
    assert after["assets"].quota_bytes == 0


class Expiring(Shell):
    """A server that carries out rules, and takes its time or refuses for some shards."""

    def __init__(self, *refused: int, slow: int = -1, away: bool = False) -> None:
        super().__init__()
        self.refused, self.slow, self.away = refused, slow, away
        self.clock = ManualClock()
        self.done: list[int] = []

    async def exec_container(
        self,
        container_id: str,
        argv: tuple[str, ...],
        /,
        *,
        stdin: bytes = b"",
        timeout_s: float,
        apart: bool = False,
    ) -> tuple[int, str]:
        assert apart
        if self.away:
            raise RetryableError("it did not end", reason="CommandTimedOut")
        (shard,) = (int(word[7:]) for word in stdin.decode().split() if word.startswith("-shard="))
        if shard in self.refused:
            return 0, "error: daily_run: no"
        self.done.append(shard)
        await self.clock.advance(600.0 if shard == self.slow else 1.0)
        return 0, f"shards {shard} complete; cursors checkpointed"


async def expire(shell: Expiring) -> str:
    """The message of its error."""
    containers: Any = shell
    try:
        await ShellQuotas(containers, shell.clock).ensure_expired("c0ffee")
    except RetryableError as exc:
        return str(exc)
    return ""


async def test_rules_are_carried_out_shard_by_shard() -> None:
    shell = Expiring()
    assert await expire(shell) == ""
    assert shell.done == [*range(16)]


async def test_one_shard_that_is_refused_or_slow_keeps_no_other_and_is_told() -> None:
    shell = Expiring(3)
    assert "refused" in await expire(shell)
    assert shell.done == [shard for shard in range(16) if shard != 3]
    shell = Expiring(slow=2)
    assert "goes on next time" in await expire(shell)
    assert shell.done == [*range(16)]


async def test_a_server_that_does_not_answer_is_asked_once() -> None:
    shell = Expiring(away=True)
    assert "did not end" in await expire(shell)
    assert shell.done == []
