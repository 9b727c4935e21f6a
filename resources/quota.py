"""Quota: how much of the host one namespace may be promised, whatever is free."""

from typing import Annotated, ClassVar

from pydantic import Field, Strict, model_validator

from resources.columns import AGE, Column
from resources.meta import (
    Amounts,
    KindInfo,
    Resource,
)
from resources.meta import Spec as BaseSpec
from resources.meta import Status as BaseStatus
from resources.quantity import Bytes, Millicores


class QuotaSpec(BaseSpec):
    cpu: Millicores | None = None
    """CPU all records of the namespace may hold together. Default: no limit. Example: `2`."""
    memory: Bytes | None = None
    """Memory they may hold together. Default: no limit. Example: `4Gi`."""
    disk: Bytes | None = None
    """Disk that Volumes with a claim of the namespace may hold together: those in use, and those
    retained until an administrator deletes them or hands them on. A namespace made anew under the
    same name answers for none from before. Default: no limit. Example: `50Gi`."""
    records: Annotated[int, Strict(), Field(ge=0)] | None = None
    """How many records it may hold, Events not counted; once it does, users create no more.
    Default: 100,000. Example: `500`."""
    record_bytes: Bytes | None = None
    """What its records may take as JSON; once they do, users create none and none grows.
    Default: 256Mi. Example: `64Mi`."""

    @model_validator(mode="after")
    def _limits_something(self) -> "QuotaSpec":
        bounds = (self.cpu, self.memory, self.disk, self.records, self.record_bytes)
        if all(bound is None for bound in bounds):
            raise ValueError(
                "limits nothing; set at least one of cpu, memory, disk, records and recordBytes"
            )
        return self


class QuotaUsed(Amounts):
    """CPU, memory and disk that a namespace holds, and how many records."""

    records: int = 0
    """How many, Events not counted. Example: `42`."""


class QuotaStatus(BaseStatus):
    used: QuotaUsed | None = None
    """What the namespace's records, and the Volumes claimed by them, hold now."""


class Quota(Resource[QuotaSpec, QuotaStatus]):
    """The most a namespace may be promised; with several, each of them holds."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="Quota",
        plural="quotas",
        singular="quota",
        columns=(
            Column("CPU", ".spec.cpu", description="CPU the namespace may hold"),
            Column("CPU-Used", ".status.used.cpu", description="CPU it holds"),
            Column("Memory", ".spec.memory", description="Memory it may hold"),
            Column("Memory-Used", ".status.used.memory", description="Memory it holds"),
            Column("Disk", ".spec.disk", description="Disk it may hold"),
            Column("Disk-Used", ".status.used.disk", description="Disk it holds"),
            Column("Records", ".spec.records", "integer", 1, "Records it may hold"),
            Column("Records-Used", ".status.used.records", "integer", 1, "Records it holds"),
            AGE,
        ),
    )
    spec: QuotaSpec
    status: QuotaStatus = Field(default_factory=QuotaStatus)
