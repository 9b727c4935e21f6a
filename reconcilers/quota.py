"""Quota: tells how much of it is used. Admission and the store enforce it; nothing is outside."""

from dataclasses import dataclass
from typing import Never, assert_never

from controlplane.plan import Plan, Reconciler, Report, Usage, Want
from resources.meta import Amounts, Footprint
from resources.quota import Quota, QuotaStatus, QuotaUsed


@dataclass(frozen=True, slots=True)
class QuotaSeen:
    """What its namespace holds."""

    promised: Footprint
    records: int


@dataclass(frozen=True, slots=True)
class QuotaReconciler(Reconciler[Quota, QuotaSeen, Never]):
    usage: Usage

    async def observe(self, want: Want[Quota], /) -> QuotaSeen:
        namespace = want.record.metadata.namespace
        return QuotaSeen(self.usage.allocated(namespace), self.usage.records(namespace))

    def plan(self, want: Want[Quota], seen: QuotaSeen, /) -> Plan[Never]:
        return Plan()

    def status(self, want: Want[Quota], seen: QuotaSeen, /) -> Report:
        limits = want.record.spec
        used = QuotaUsed.model_construct(**dict(Amounts.of(seen.promised)), records=seen.records)
        over = [
            name
            for name, held, limit in (
                ("cpu", used.cpu, limits.cpu),
                ("memory", used.memory, limits.memory),
                ("disk", used.disk, limits.disk),
                ("records", used.records, limits.records),
            )
            if limit is not None and held > limit
        ]
        status = QuotaStatus(used=used)
        if over:
            message = (
                f"more {' and '.join(over)} is held than the quota allows: what runs goes on, and "
                "nothing new is admitted; raise the quota or delete records"
            )
            return Report(status, True, "Exceeded", message)
        return Report(status, True, "Enforced", "admission keeps to it")

    async def apply(self, step: Never, /) -> None:
        assert_never(step)
