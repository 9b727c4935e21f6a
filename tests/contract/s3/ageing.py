"""What SeaweedFS saved of a bucket (fs.meta.save), made older: rules are counted in days.

Protocol buffers (weed/pb/filer.proto). Each moment is as long afterwards as it was, so that they
need not be read: an entry's mtime and crtime, numbers of seconds in fields 2 and 6 of its
attributes, and texts of seconds or nanoseconds about versions.
"""

import re
import time

_FIELDS = re.compile(rb"(?<=[\x10\x30])(?=([\x80-\xff]{4}[\x01-\x7f]))")
"""Looks ahead, as what only looks like one may begin within one."""
_TEXTS = re.compile(rb"(?<!\d)(\d{10})((?:\d{9})?)(?!\d)")
HOUR_S = 3600


def aged(saved: bytes, seconds: int) -> bytes:
    """The same, with all that is of the last hour so many seconds earlier."""
    now = int(time.time())

    def recent(moment: int) -> bool:
        return now - HOUR_S < moment <= now + 1

    made = bytearray(saved)
    for found in _FIELDS.finditer(saved):
        if recent(moment := _number(found[1])):
            made[found.start(1) : found.end(1)] = _varint(moment - seconds)

    def text(found: re.Match[bytes]) -> bytes:
        moment = int(found[1])
        return b"%d%s" % (moment - seconds, found[2]) if recent(moment) else found[0]

    return _TEXTS.sub(text, bytes(made))


def _number(wire: bytes) -> int:
    return sum((byte & 0x7F) << (7 * place) for place, byte in enumerate(wire))


def _varint(number: int) -> bytes:
    wire = bytearray()
    while number > 0x7F:
        wire.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*wire, number])
