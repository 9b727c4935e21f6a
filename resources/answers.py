"""What a record set answers: the fields that Zone and RecordSet share. No I/O."""

from ipaddress import ip_network
from typing import Annotated, Final, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    Strict,
    ValidationInfo,
    field_validator,
    model_validator,
)

from resources.dns import RecordName, RecordType, content, full_name
from resources.meta import Model
from resources.text import Matches

SOME_ZONE: Final = "zone.invalid"
"""Stands for the zone where only the form of a value is checked; reserved by RFC 2606."""
MAX_RECORDS: Final = 200
"""Of one name and type: an answer of more would not fit DNS' 64 KiB in the worst case."""
SET_LIST: Final = {"x-kubernetes-list-type": "set"}

Ttl = Annotated[int, Strict(), Field(ge=0, le=2**31 - 1)]
"""Seconds that resolvers may keep an answer (RFC 2181, 8)."""


def _network(value: str) -> str:
    """Raises ValueError for what is not a network: one that ends in a zone id (`fe80::%eth0`) is
    nobody's but a host's own, and may say anything after its `%`."""
    try:
        if "%" in value:
            raise ValueError(value)
        ip_network(value)
    except ValueError as exc:
        raise ValueError(
            f"{value!r} is not a network; write it as '198.51.100.0/24' or '2001:db8::/32'"
        ) from exc
    return value


Network = Annotated[str, AfterValidator(_network)]
Country = Annotated[
    str,
    Matches("[A-Z]{2}", "a country: write its ISO 3166 code of two capital letters, such as 'DE'"),
]
Continent = Literal["AF", "AN", "AS", "EU", "NA", "OC", "SA"]
Value = Annotated[str, Field(max_length=8192)]


class Weighted(Model):
    record: Value
    """The value, as in `records`. Example: `192.0.2.10`."""
    weight: Annotated[int, Strict(), Field(ge=1, le=1000)]
    """Its share among the weights of the set. Example: `90`."""


class Place(Model):
    networks: Annotated[tuple[Network, ...], Field(json_schema_extra=SET_LIST)] = ()
    """Networks of clients (or of their resolvers), in CIDR form. Example: `["198.51.100.0/24"]`."""
    countries: Annotated[tuple[Country, ...], Field(json_schema_extra=SET_LIST)] = ()
    """Countries of clients, by ISO 3166 code. Example: `["DE", "AT"]`."""
    continents: Annotated[tuple[Continent, ...], Field(json_schema_extra=SET_LIST)] = ()
    """Continents of clients: AF, AN, AS, EU, NA, OC or SA. Example: `["EU"]`."""
    records: Annotated[tuple[Value, ...], Field(min_length=1, max_length=MAX_RECORDS)]
    """What clients there are answered. Example: `["192.0.2.10"]`."""

    @model_validator(mode="after")
    def _names_a_place(self) -> Self:
        if not (self.networks or self.countries or self.continents):
            raise ValueError("names no place; set networks, countries or continents")
        return self


class Answers(Model):
    """One record set."""

    name: RecordName
    """Name within the zone: `@` is the zone itself, `*` as first label every other name; one that
    ends with the zone's domain, or with a dot, is absolute. Example: `www`."""
    type: RecordType
    """Type of the records. Example: `A`."""
    ttl: Ttl | None = None
    """Seconds that resolvers may keep the answer. Default: the zone's. Example: `300`."""
    records: Annotated[
        tuple[Value, ...], Field(max_length=MAX_RECORDS, json_schema_extra=SET_LIST)
    ] = ()
    """The values, each as in a zone file: a host name with a dot in it is absolute, a single label
    is within the zone; TXT is the text itself. Example: `["192.0.2.10"]`."""
    weighted: Annotated[tuple[Weighted, ...], Field(max_length=MAX_RECORDS)] = ()
    """Instead of records, for A and AAAA: one of these in each answer, by weight."""
    geo: Annotated[tuple[Place, ...], Field(max_length=MAX_RECORDS)] = ()
    """For A and AAAA: other answers for clients in some places, the first that fits; `records`
    are for everybody else."""

    @field_validator("records")
    @classmethod
    def _are_values(cls, given: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        _check_values(info, "records", given)
        return given

    @field_validator("weighted")
    @classmethod
    def _are_weighted(
        cls, given: tuple[Weighted, ...], info: ValidationInfo
    ) -> tuple[Weighted, ...]:
        _check_values(info, "weighted", tuple(each.record for each in given))
        return given

    @field_validator("geo")
    @classmethod
    def _are_places(cls, given: tuple[Place, ...], info: ValidationInfo) -> tuple[Place, ...]:
        for at, place in enumerate(given):
            _check_values(info, f"geo[{at}].records", place.records)
        return given

    @model_validator(mode="after")
    def _is_an_answer(self) -> Self:
        if bool(self.records) == bool(self.weighted):
            raise ValueError("set records, or weighted instead")
        if self.geo and self.weighted:
            raise ValueError("geo needs records for everybody else; weighted can't be with it")
        if (self.geo or self.weighted) and self.type not in ("A", "AAAA"):
            raise ValueError(f"geo and weighted answer A and AAAA only, not {self.type}")
        if self.type in ("CNAME", "ALIAS") and len(self.records) > 1:
            raise ValueError(f"{self.type} has one record only")
        return self

    def full_name(self, domain: str) -> str:
        """Its absolute name in a zone, with a dot at its end."""
        return full_name(self.name, domain)


def _check_values(info: ValidationInfo, path: str, values: tuple[str, ...]) -> None:
    """Each is a value of the set's type, and none is there twice."""
    rdtype = info.data.get("type")
    if rdtype is None:
        return  # it was refused itself
    found: set[str] = set()
    for at, value in enumerate(values):
        try:
            written = content(rdtype, value, SOME_ZONE)
        except ValueError as exc:
            raise ValueError(f"{path}[{at}]: {exc}") from exc
        if written in found:
            raise ValueError(f"{path}[{at}]: {value!r} is there twice; leave one out")
        found.add(written)
