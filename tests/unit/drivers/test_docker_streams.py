"""The engine's marked pieces, cut anywhere."""

import struct
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from controlplane.streams import Channel, Frame
from drivers.docker_streams import Demux

PIECES = st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(min_size=0, max_size=40)))


def carried(frames: list[Frame]) -> list[tuple[Channel, bytes]]:
    """Neighbours of one channel joined."""
    found: list[tuple[Channel, bytes]] = []
    for frame in frames:
        if found and found[-1][0] == frame.channel:
            found[-1] = (frame.channel, found[-1][1] + frame.data)
        elif frame.data:
            found.append((frame.channel, frame.data))
    return found


@given(PIECES, st.lists(st.integers(0, 400)))
def test_what_was_sent_arrives_however_it_is_cut(
    pieces: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    sent = b"".join(struct.pack(">BxxxL", number, len(data)) + data for number, data in pieces)
    edges = sorted({0, len(sent), *(cut for cut in cuts if cut < len(sent))})
    demux = Demux()
    got = [f for a, b in pairwise(edges) for f in demux.feed(sent[a:b])]
    assert carried(got) == carried([Frame(Channel(number), data) for number, data in pieces])
