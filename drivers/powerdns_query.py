"""One question to a DNS server over UDP, as a resolver asks it: does it answer for this zone?"""

import asyncio
from typing import Final

TIMEOUT_S: Final = 2.0
"""The way is a bridge on this host, where an answer takes less than a millisecond."""


class _Answer(asyncio.DatagramProtocol):
    """Keeps the first packet that comes back."""

    def __init__(self, answer: "asyncio.Future[bytes]") -> None:
        self._answer = answer

    def datagram_received(self, data: bytes, addr: object) -> None:
        if not self._answer.done():
            self._answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self._answer.done():
            self._answer.set_exception(exc)


async def ask_serial(address: str, name: str, *, timeout_s: float = TIMEOUT_S) -> int | None:
    """Serial of the zone's SOA as answered with authority at `ip:port`, or None."""
    from dns import exception, message

    host, _, port = address.rpartition(":")
    query = message.make_query(name, "SOA")
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes] = loop.create_future()
    try:
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _Answer(answer), remote_addr=(host, int(port))
        )
    except (OSError, ValueError):
        return None
    try:
        transport.sendto(query.to_wire())
        async with asyncio.timeout(timeout_s):
            reply = message.from_wire(await answer)
    except (TimeoutError, OSError, exception.DNSException):
        return None
    finally:
        transport.close()
    return _serial(query, reply)


def _serial(query: object, reply: object) -> int | None:
    from dns import flags, message, rdatatype

    assert isinstance(query, message.Message)
    assert isinstance(reply, message.Message)
    if not query.is_response(reply) or not reply.flags & flags.AA:
        return None
    for rrset in reply.answer:
        if rrset.rdtype == rdatatype.SOA:
            return int(getattr(rrset[0], "serial", 0))
    return None
