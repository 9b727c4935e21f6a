"""IPv4 networks, host names and ports as a user writes them; those that a field takes each with a
message that says how. No I/O."""

from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Final

from pydantic import AfterValidator, Field, ValidationInfo

from resources.meta import STORED, NameClaim
from resources.text import HOST, PORT, Matches

NET_EXAMPLE: Final = "such as '192.168.7.0/24'"
_MAX_PORT: Final = 65535
_MAX_PORT_DIGITS: Final = 5


def _network(value: str) -> str:
    try:
        found = IPv4Network(value)
    except ValueError as exc:
        raise ValueError(
            f"{value!r} is not an IPv4 network: write its first address, '/' and the length of "
            f"its prefix, {NET_EXAMPLE}"
        ) from exc
    # one spelling only: records are compared, and read by others, as they are written
    if str(found) != value:
        raise ValueError(f"{value!r} is not written as networks are here: write '{found}'")
    return value


def _address(value: str) -> str:
    try:
        return str(IPv4Address(value))
    except ValueError as exc:
        raise ValueError(f"{value!r} is not an IPv4 address, such as '10.99.0.7'") from exc


Cidr = Annotated[str, AfterValidator(_network)]
"""An IPv4 network in canonical form."""

Address = Annotated[str, AfterValidator(_address)]
"""An IPv4 address in canonical form."""

_HOST_PORT: Final = Matches(
    f"{HOST}(:{PORT})?",
    "a host: write a name or an IPv4 address, with ':port' if the port differs from the one "
    "listened on, such as 'vpn.example.org'",
    260,
)


def _host_port(value: str, info: ValidationInfo) -> str:
    """A stored one may be of an earlier release, which took more."""
    return value if info.context == STORED else _HOST_PORT(value)


HostPort = Annotated[
    str,
    Matches(
        r"[A-Za-z0-9](?:[-A-Za-z0-9.]*[A-Za-z0-9])?(?::[1-9][0-9]{0,4})?", _HOST_PORT.rule, 260
    ),
    AfterValidator(_host_port),
]
"""A host name or an IPv4 address, and perhaps a port."""


def port_of(text: str) -> int | None:
    """The port that a text says; None for any other text, however long. int() alone would take
    other alphabets' digits, and raise for some thousands of them."""
    digits = text.isascii() and text.isdecimal() and len(text) <= _MAX_PORT_DIGITS
    port = int(text) if digits else 0
    return port if 0 < port <= _MAX_PORT else None


def network_claim(name: str, namespace: str) -> NameClaim:
    """What containers are reached under by their neighbours in the namespace's network, whatever
    kind they are of: two records of one name would be answered for by each other."""
    return NameClaim(scope="network", name=f"{name} in {namespace}")


def service_claims(services: tuple[str, ...], namespace: str) -> tuple[NameClaim, ...]:
    """What services of the platform are reached under in the network of a namespace that uses
    them: held by each record that does, so that no neighbour answers in their place."""
    return tuple(
        network_claim(name, namespace).model_copy(update={"of": f"Platform/{name}"})
        for name in services
    )


def overlaps(one: str, other: str) -> bool:
    """Whether two networks share an address."""
    return IPv4Network(one).overlaps(IPv4Network(other))


def _apart(values: tuple[str, ...]) -> tuple[str, ...]:
    """Networks that don't overlap each other."""
    for index, value in enumerate(values):
        for other in values[:index]:
            if overlaps(value, other):
                raise ValueError(f"'{value}' and '{other}' overlap; leave one of them out")
    return values


Networks = Annotated[tuple[Cidr, ...], Field(max_length=16), AfterValidator(_apart)]
