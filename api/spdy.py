"""SPDY/3.1 frames, as far as forwarded ports need them. Pure, and no transport.

kubectl tunnels SPDY through a WebSocket for port-forward (KEP-4006); everything else of SPDY is
gone. Frames: https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/. Flow-control
windows are not kept: neither does the peer, and the WebSocket's own backpressure holds.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

_WORDS: Final = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language "
    "accept-ranges age allow authorization cache-control connection content-base "
    "content-encoding content-language content-length content-location content-md5 "
    "content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location "
    "max-forwards pragma proxy-authenticate proxy-authorization range referer retry-after "
    "server te trailer transfer-encoding upgrade user-agent vary via warning "
    "www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie "
    "keep-alive origin"
)
_REST: Final = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request"
    "401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented"
    "503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 "
    "Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,"
    "application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age="
    "gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY: Final = (
    b"".join(
        struct.pack(">I", len(word)) + word.replace("_", " ").encode() for word in _WORDS.split()
    )
    + _REST.encode()
)
"""What header blocks are compressed with: section 2.6.10.1 of the draft."""

_HEAD: Final = struct.Struct(">II")
_CONTROL: Final = 0x8003_0000
_ID: Final = 0x7FFF_FFFF
_LENGTH: Final = 0x00FF_FFFF
FIN: Final = 0x01
_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _PING, _GOAWAY = 1, 2, 3, 6, 7
REFUSED_STREAM: Final = 3
CANCEL: Final = 5
_MAX_CONTROL_BYTES: Final = 16 * 1024
"""kubectl's are below 200; also what a header block may grow to."""
_MAX_DATA_BYTES: Final = 32 * 1024


class SpdyError(Exception):
    """The peer does not speak SPDY/3.1 as we do."""


@dataclass(frozen=True, slots=True)
class Opened:
    """SYN_STREAM: the peer opens a stream."""

    stream: int
    headers: Mapping[str, str]
    fin: bool


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of a stream; a frame may come as several of these."""

    stream: int
    data: bytes
    fin: bool


@dataclass(frozen=True, slots=True)
class Reset:
    """RST_STREAM."""

    stream: int


@dataclass(frozen=True, slots=True)
class Ping:
    id: int


@dataclass(frozen=True, slots=True)
class Goaway:
    """The peer opens no more streams."""


Event = Opened | Data | Reset | Ping | Goaway


class Reader:
    """Takes the peer's bytes cut anywhere. Keeps at most one control frame."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._data: tuple[int, int, bool] | None = None
        """Stream, bytes to come and FIN of the data frame under way."""

    def feed(self, data: bytes) -> Iterator[Event]:
        """What it says. Raises SpdyError."""
        self._buffer += data
        while (event := self._next()) is not None:
            if event:
                yield event[0]

    def _next(self) -> tuple[Event, ...] | None:
        """None: more bytes are needed; empty: a frame that means nothing here."""
        if self._data is not None:
            return self._piece(*self._data)
        if len(self._buffer) < _HEAD.size:
            return None
        first, second = _HEAD.unpack_from(self._buffer)
        flags, length = second >> 24, second & _LENGTH
        if not first & ~_ID:
            del self._buffer[: _HEAD.size]
            self._data = (first & _ID, length, bool(flags & FIN))
            return ()
        if first & 0x7FFF_0000 != _CONTROL & 0x7FFF_0000 or length > _MAX_CONTROL_BYTES:
            raise SpdyError("not a SPDY/3 frame, or too long")
        if len(self._buffer) < _HEAD.size + length:
            return None
        body = bytes(self._buffer[_HEAD.size : _HEAD.size + length])
        del self._buffer[: _HEAD.size + length]
        return self._control(first & 0xFFFF, flags, body)

    def _piece(self, stream: int, left: int, fin: bool) -> tuple[Event, ...] | None:
        if left and not self._buffer:
            return None
        data = bytes(self._buffer[: min(left, _MAX_DATA_BYTES)])
        del self._buffer[: len(data)]
        left -= len(data)
        self._data = (stream, left, fin) if left else None
        return (Data(stream, data, fin and not left),)

    def _control(self, type_: int, flags: int, body: bytes) -> tuple[Event, ...]:
        try:
            if type_ == _SYN_STREAM:
                stream = struct.unpack_from(">I", body)[0] & _ID
                return (Opened(stream, self._headers(body[10:]), bool(flags & FIN)),)
            if type_ == _RST_STREAM:
                return (Reset(struct.unpack_from(">I", body)[0] & _ID),)
            if type_ == _PING:
                return (Ping(struct.unpack_from(">I", body)[0]),)
        except (struct.error, zlib.error, UnicodeDecodeError) as exc:
            raise SpdyError("a frame is malformed") from exc
        return (Goaway(),) if type_ == _GOAWAY else ()

    def _headers(self, block: bytes) -> Mapping[str, str]:
        plain = self._inflate.decompress(block, _MAX_CONTROL_BYTES)
        if self._inflate.unconsumed_tail:
            raise SpdyError("a header block is too long")
        (count,), at = struct.unpack_from(">I", plain), 4
        found = {}
        for _ in range(count):
            name, at = _text(plain, at)
            value, at = _text(plain, at)
            found[name.lower()] = value
        return found


def _text(plain: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from(">I", plain, at)
    end = at + 4 + length
    if end > len(plain):
        raise SpdyError("a header is cut off")
    return plain[at + 4 : end].decode(), end


class Writer:
    """Writes frames; the header blocks of one connection share a compressor."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def opened(self, stream: int, headers: Mapping[str, str], *, fin: bool = False) -> bytes:
        """SYN_STREAM."""
        body = struct.pack(">IIH", stream, 0, 0) + self._block(headers)
        return _control(_SYN_STREAM, body, FIN if fin else 0)

    def accepted(self, stream: int) -> bytes:
        """SYN_REPLY without headers."""
        return _control(_SYN_REPLY, struct.pack(">I", stream) + self._block({}))

    def _block(self, headers: Mapping[str, str]) -> bytes:
        plain = struct.pack(">I", len(headers))
        for name, value in headers.items():
            for text in (name.encode(), value.encode()):
                plain += struct.pack(">I", len(text)) + text
        return self._deflate.compress(plain) + self._deflate.flush(zlib.Z_SYNC_FLUSH)


def data(stream: int, content: bytes, *, fin: bool = False) -> bytes:
    """A data frame."""
    return _HEAD.pack(stream, (FIN if fin else 0) << 24 | len(content)) + content


def reset(stream: int, status: int) -> bytes:
    """RST_STREAM."""
    return _control(_RST_STREAM, struct.pack(">II", stream, status))


def ping(id_: int) -> bytes:
    """PING, which the peer sends back."""
    return _control(_PING, struct.pack(">I", id_))


def _control(type_: int, body: bytes, flags: int = 0) -> bytes:
    return _HEAD.pack(_CONTROL | type_, flags << 24 | len(body)) + body
