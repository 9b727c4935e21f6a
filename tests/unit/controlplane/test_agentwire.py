"""Frames of the agent's socket: read as written, cut anywhere; errors arrive as raised."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.agentwire import (
    Packet,
    change_json,
    change_of,
    failure_json,
    failure_of,
    read_packet,
)
from controlplane.errors import (
    ControlPlaneError,
    DriverUnavailableError,
    ForbiddenError,
    NotFoundError,
    RetryableError,
    TerminalError,
)
from controlplane.records import Key, Stored
from controlplane.streams import (
    Command,
    LogQuery,
    PodRef,
    as_json,
    command,
    log_query,
    pod_ref,
)

PACKETS = st.lists(st.builds(Packet, st.integers(0, 255), st.binary(max_size=200)), max_size=8)


async def read(pieces: list[bytes]) -> list[Packet]:
    reader = asyncio.StreamReader()
    for piece in pieces:
        reader.feed_data(piece)
    reader.feed_eof()
    found = []
    while (packet := await read_packet(reader)) is not None:
        found.append(packet)
    return found


@given(PACKETS, st.lists(st.integers(0, 500), max_size=20))
def test_packets_are_read_as_written_however_they_are_cut(
    packets: list[Packet], cuts: list[int]
) -> None:
    sent = b"".join(packet.wire() for packet in packets)
    edges = sorted({0, len(sent), *(cut for cut in cuts if cut < len(sent))})
    assert asyncio.run(read([sent[a:b] for a, b in pairwise(edges)])) == packets


@given(PACKETS, st.integers(1, 4))
def test_an_end_in_the_middle_is_an_end(packets: list[Packet], short: int) -> None:
    sent = b"".join(packet.wire() for packet in packets) + Packet(1, b"cut").wire()[:-short]
    assert asyncio.run(read([sent])) == packets


def test_a_frame_of_a_gigabyte_is_refused() -> None:
    with pytest.raises(ConnectionError):
        asyncio.run(read([b"\x01\x40\x00\x00\x00"]))


@pytest.mark.parametrize(
    "error",
    [
        NotFoundError("cannot reach Pod 'a': it is gone"),
        ForbiddenError("cannot attach: not running", reason="NotRunning"),
        DriverUnavailableError("docker", "away", retry_after_s=3.0),
        RetryableError("refused", reason="Refused", retry_after_s=2.0),
        TerminalError("no", reason="EngineRefused"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_arrive_as_they_were_raised(error: ControlPlaneError) -> None:
    found = failure_of(failure_json(error))
    assert type(found) is type(error)
    assert str(found) == str(error)
    for name in ("reason", "retry_after_s"):
        assert getattr(found, name, None) == getattr(error, name, None)


def test_requests_and_changes_survive_the_way() -> None:
    query = LogQuery(follow=True, tail=3, since_ns=5, timestamps=True)
    assert log_query(as_json(query)) == query
    run = Command(("sh", "-c", "x"), stdin=True, tty=True)
    assert command(as_json(run)) == run
    ref = PodRef("shop", "app-web-0", "u")
    assert pod_ref(as_json(ref)) == ref
    stored = Stored(Key("Pod", "shop", "a"), "u", 7, 1, b'{"metadata":{}}')
    assert change_of(change_json("update", stored)) == ("update", stored)
