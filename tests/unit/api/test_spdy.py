"""SPDY frames: whatever is written is read, cut anywhere; nothing else breaks the reader."""

import struct
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import spdy
from api.spdy import Data, Event, Opened, Ping, Reader, Reset, SpdyError, Writer

IDS = st.integers(1, 0x7FFFFFFF)
HEADERS = st.dictionaries(
    st.text("abcdefghij-", min_size=1, max_size=12), st.text(max_size=20), max_size=4
)
FRAMES = st.lists(
    st.one_of(
        st.builds(Opened, IDS, HEADERS, st.booleans()),
        st.builds(Data, IDS, st.binary(max_size=300), st.booleans()),
        st.builds(Reset, IDS),
        st.builds(Ping, st.integers(0, 0xFFFFFFFF)),
    ),
    max_size=12,
)


def written(events: list[Event]) -> bytes:
    writer, out = Writer(), b""
    for event in events:
        match event:
            case Opened(stream=stream, headers=headers, fin=fin):
                out += writer.opened(stream, headers, fin=fin)
            case Data(stream=stream, data=content, fin=fin):
                out += spdy.data(stream, content, fin=fin)
            case Reset(stream=stream):
                out += spdy.reset(stream, spdy.CANCEL)
            case Ping(id=id_):
                out += spdy.ping(id_)
            case _:
                raise AssertionError(event)
    return out


def read(sent: bytes, cuts: list[int]) -> list[Event]:
    """Pieces of one data frame joined."""
    edges = sorted({0, len(sent), *(cut for cut in cuts if cut < len(sent))})
    reader = Reader()
    got: list[Event] = []
    open_ = False
    for start, end in pairwise(edges):
        for event in reader.feed(sent[start:end]):
            last = got[-1] if got else None
            if isinstance(event, Data) and open_ and isinstance(last, Data):
                got[-1] = Data(last.stream, last.data + event.data, event.fin)
            else:
                got.append(event)
            open_ = isinstance(event, Data) and reader._data is not None
    return got


@given(FRAMES, st.lists(st.integers(0, 2000), max_size=30))
def test_frames_are_read_as_written_however_they_are_cut(
    events: list[Event], cuts: list[int]
) -> None:
    assert read(written(events), cuts) == events


@given(st.binary(max_size=400))
def test_garbage_is_refused_or_ignored(garbage: bytes) -> None:
    try:
        list(Reader().feed(garbage))
    except SpdyError:
        return


def test_the_dictionary_is_the_drafts() -> None:
    """A compressor names its dictionary by this sum: RFC 1950, and `78 bb e3 c6 a7 c2` on the
    wire of every SPDY/3 peer."""
    assert (len(spdy.DICTIONARY), zlib.adler32(spdy.DICTIONARY)) == (1423, 0xE3C6A7C2)


def test_a_long_data_frame_is_not_kept_whole() -> None:
    reader, size = Reader(), 4 * 2**20
    head = struct.pack(">II", 1, size)
    got = list(reader.feed(head))
    for _ in range(size // 2**16):
        pieces = list(reader.feed(b"x" * 2**16))
        assert len(reader._buffer) == 0
        got += pieces
    assert sum(len(event.data) for event in got if isinstance(event, Data)) == size


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(struct.pack(">II", 0x80020001, 0), id="SPDY/2"),
        pytest.param(struct.pack(">II", 0x80030001, 1 << 20), id="a control frame of 1 MiB"),
        pytest.param(struct.pack(">II", 0x80030001, 4) + b"abcd", id="no header block"),
        pytest.param(struct.pack(">II", 0x80030003, 0), id="a reset of nothing"),
        pytest.param(
            Writer().opened(1, {"a": "x" * 100_000})[:4]
            + struct.pack(">I", len(Writer().opened(1, {"a": "x" * 100_000})) - 8)
            + Writer().opened(1, {"a": "x" * 100_000})[8:],
            id="a header block that explodes",
        ),
    ],
)
def test_what_no_peer_of_ours_sends_is_refused(frame: bytes) -> None:
    with pytest.raises(SpdyError):
        list(Reader().feed(frame))
