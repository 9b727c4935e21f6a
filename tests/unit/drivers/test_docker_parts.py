"""The Docker driver's smaller pure parts: stream frames, routes, pull messages."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.docker_exec import Demux
from drivers.docker_images import pull_failure
from drivers.docker_networks import host_routes


@given(
    parts=st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=50)), max_size=8),
    cut=st.integers(min_value=1, max_value=7),
    limit=st.integers(min_value=0, max_value=200),
)
def test_demux_takes_the_stream_in_any_pieces(
    parts: list[tuple[int, bytes]], cut: int, limit: int
) -> None:
    stream = b"".join(struct.pack(">BxxxL", fd, len(data)) + data for fd, data in parts)
    demux = Demux(limit)
    for at in range(0, len(stream), cut):
        demux.feed(stream[at : at + cut])
    said = b"".join(data for _, data in parts)
    assert (bytes(demux.output), demux.cut) == (said[:limit], len(said) > limit)


def test_host_routes_reads_the_kernels_table() -> None:
    table = (
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
        "docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
        "\n"
    )
    assert host_routes(table) == ("192.0.2.0/24", "172.17.0.0/16")


def test_pull_that_worked_has_no_failure() -> None:
    assert pull_failure("a:1", [{"status": "Pulling"}, {"status": "Digest: sha256:x"}]) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("manifest for a:1 not found: manifest unknown", "ImageNotFound"),
        ("pull access denied for a, repository does not exist", "ImageNotFound"),
        ("net/http: TLS handshake timeout", "PullFailed"),
    ],
)
def test_pull_failure_is_found_in_the_stream(text: str, reason: str) -> None:
    failure = pull_failure("a:1", [{"status": "Pulling"}, {"error": text}])
    assert failure is not None
    assert failure.reason == reason
