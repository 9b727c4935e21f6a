"""Quota: tells how much of it is used. The budget enforces it at admission; nothing is outside."""

from dataclasses import dataclass
from typing import Never, assert_never

from controlplane.plan import Plan, Reconciler, Report, Usage, Want
from resources.meta import Amounts, Footprint
from resources.quota import Quota, QuotaStatus


@dataclass(frozen=True, slots=True)
class QuotaReconciler(Reconciler[Quota, Footprint, Never]):
    usage: Usage

    async def observe(self, want: Want[Quota], /) -> Footprint:
        return self.usage.allocated(want.record.metadata.namespace)

    def plan(self, want: Want[Quota], seen: Footprint, /) -> Plan[Never]:
        return Plan()

    def status(self, want: Want[Quota], seen: Footprint, /) -> Report:
        limits = want.record.spec
        over = [
            name
            for name, used, limit in (
                ("cpu", seen.cpu_millicores, limits.cpu),
                ("memory", seen.memory_bytes, limits.memory),
                ("disk", seen.disk_bytes, limits.disk),
            )
            if limit is not None and used > limit
        ]
        status = QuotaStatus(used=Amounts.of(seen))
        if over:
            message = (
                f"more {' and '.join(over)} is held than the quota allows: what runs goes on, and "
                "nothing new is admitted; raise the quota or delete records"
            )
            return Report(status, True, "Exceeded", message)
        return Report(status, True, "Enforced", "admission keeps to it")

    async def apply(self, step: Never, /) -> None:
        assert_never(step)
