"""Lists of quotas that may be a little old."""

import asyncio
from typing import Any

from drivers.s3_shell import LIST, ShellQuotas


class Shell:
    """A server with one bucket, whose lists are slow to arrive."""

    def __init__(self) -> None:
        self.mib = 64
        self.arrives = asyncio.Event()

    async def exec_container(
        self, container_id: str, argv: tuple[str, ...], /, *, stdin: bytes = b"", timeout_s: float
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
