"""RecordSet: one name and type in a Zone, as a record of its own that others can own. No I/O."""

from typing import ClassVar, Self

from pydantic import Field, model_validator

from resources.answers import Answers
from resources.columns import AGE, Column, ready
from resources.dns import SLOW_BYTES, clash, load
from resources.meta import (
    KindInfo,
    Ref,
    Resource,
)
from resources.meta import Spec as BaseSpec
from resources.meta import Status as BaseStatus


class RecordSetSpec(Answers, BaseSpec):
    zone_ref: Ref
    """The Zone it is in, of the same namespace. Example: `{name: shop}`."""

    @model_validator(mode="after")
    def _is_no_part_of_the_zone_itself(self) -> Self:
        if self.name == "@" and (why := clash(self.type, frozenset(), apex=True)):
            raise ValueError(why)
        return self


class RecordSetStatus(BaseStatus):
    domain: str | None = None
    """Absolute name that is answered. Example: `www.shop.example.org`."""


class RecordSet(Resource[RecordSetSpec, RecordSetStatus]):
    """Records of one name and type, served by the Zone it refers to."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="RecordSet",
        plural="recordsets",
        singular="recordset",
        short_names=("rrset",),
        categories=("all",),
        slow_bytes=SLOW_BYTES,
        dns_name=False,
        columns=(
            Column("Zone", ".spec.zoneRef.name", description="The Zone it is in"),
            Column("Name", ".spec.name", description="Name within the zone"),
            Column("Type", ".spec.type", description="Type of its records"),
            ready("Whether the zone serves it"),
            Column(
                "Reason",
                '.status.conditions[?(@.type=="Ready")].reason',
                description="Why it is or isn't served",
            ),
            AGE,
            Column("Records", ".spec.records", priority=1, description="Its values"),
            Column("TTL", ".spec.ttl", "integer", priority=1, description="Seconds it is kept"),
        ),
        refs=(("spec.zoneRef", "Zone"),),
    )
    spec: RecordSetSpec
    status: RecordSetStatus = Field(default_factory=RecordSetStatus)

    @classmethod
    def prepare(cls) -> None:
        load()
        super().prepare()
