"""Contents as PowerDNS writes them: it takes a record in no other form ("Not in expected format").

Measured on 4.7 (tests/contract/test_powerdns.py). What comes in is valid presentation format
(RFC 1035 and each type's own); only three types are written differently. Pure.
"""

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from dns.rdtypes.ANY.LOC import LOC

_BARE: Final = frozenset({"mandatory", "alpn", "port", "ipv4hint", "ipv6hint"})
"""Service parameters (RFC 9460) whose values it writes without quotes."""


@lru_cache(maxsize=4096)
def server_text(rdtype: str, content: str) -> str:
    """`content` in the form that the server gives it back in."""
    if rdtype in ("HTTPS", "SVCB"):
        return _service(content)
    if rdtype == "LOC":
        return _location(content)
    return content


def _service(content: str) -> str:
    """`1 . alpn="h2,h3" port="8443"` -> `1 . alpn=h2,h3 port=8443`; the order is by number."""

    def plain(found: re.Match[str]) -> str:
        key, value = found[1], found[2]
        return f"{key}={value}" if key in _BARE else f'{key}="{value}"'

    return re.sub(r'([a-z0-9-]+)="((?:[^"\\]|\\.)*)"', plain, content)


def _location(content: str) -> str:
    """RFC 1876 with all that may be left out, and every length with centimetres."""
    from dns import rdata

    found: Any = rdata.from_text("IN", "LOC", content)
    loc: LOC = found
    return (
        f"{_angle(loc.latitude, 'NS')} {_angle(loc.longitude, 'EW')} {loc.altitude / 100:.2f}m "
        f"{loc.size / 100:.2f}m {loc.horizontal_precision / 100:.2f}m "
        f"{loc.vertical_precision / 100:.2f}m"
    )


def _angle(value: tuple[int, int, int, int, int], letters: str) -> str:
    degrees, minutes, seconds, milliseconds, sign = value
    letter = letters[0] if sign >= 0 else letters[1]
    return f"{degrees} {minutes} {seconds}.{milliseconds:03d} {letter}"
