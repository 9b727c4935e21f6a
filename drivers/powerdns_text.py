"""Contents as PowerDNS writes them: it takes a record in no other form ("Not in expected format").

Measured on 4.7 (tests/contract/powerdns/test_records.py). What comes in is valid presentation
format (RFC 1035 and each type's own); only a few types are written differently. Pure.
"""

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from dns.rdtypes.ANY.LOC import LOC

_BARE: Final = frozenset({"mandatory", "alpn", "port", "ipv4hint", "ipv6hint"})
"""Service parameters (RFC 9460) whose values it writes without quotes."""

_NUMBERED: Final = {"dohpath": "key7", "ohttp": "key8"}
"""Parameters that it knows by number alone."""


def server_text(rdtype: str, content: str) -> str:
    """`content` in the form that the server gives it back in."""
    if rdtype in ("HTTPS", "SVCB"):
        return _service(content)
    if rdtype == "LOC":
        return _location(content)
    if rdtype == "AAAA" and "." in content:
        return _mapped(content)
    return content


def _mapped(content: str) -> str:
    """`::ffff:1.2.3.4` -> `::ffff:102:304`: it writes the first, and takes the second only."""
    head, _, last = content.rpartition(":")
    a, b, c, d = (int(part) for part in last.split("."))
    return f"{head}:{a << 8 | b:x}:{c << 8 | d:x}"


@lru_cache(maxsize=512)
def _service(content: str) -> str:
    """`1 . alpn="h2,h3" port="8443"` -> `1 . alpn=h2,h3 port=8443`; the order is by number."""

    def plain(found: re.Match[str]) -> str:
        key, value = _NUMBERED.get(found[1], found[1]), found[2]
        return f"{key}={value}" if key in _BARE else f'{key}="{value}"'

    return re.sub(r'([a-z0-9-]+)="((?:[^"\\]|\\.)*)"', plain, content)


@lru_cache(maxsize=512)
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
    """With the server's own arithmetic, which makes 39 degrees 24 minutes `39 23 60.000`:
    LOCRecordContent::getZoneRepresentation in its sillyrecords.cc."""
    degrees, minutes, seconds, milliseconds, sign = value
    angle = ((degrees * 60 + minutes) * 60 + seconds) * 1000 + milliseconds
    exact = sign * angle / 3_600_000.0
    left = 60.0 * (exact - int(exact))
    letter = letters[0] if exact > 0 else letters[1]
    return f"{abs(int(exact))} {abs(int(left))} {abs((left - int(left)) * 60.0):.3f} {letter}"
