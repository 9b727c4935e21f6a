"""The channel protocol: what clients send, and what they are sent."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import channels
from api.channels import SPDY, V4, V5
from controlplane.streams import Channel, Frame


@pytest.mark.parametrize(
    ("offered", "spoken", "found"),
    [
        ("v5.channel.k8s.io", (V5, V4), V5),
        ("v4.channel.k8s.io, v5.channel.k8s.io", (V5, V4), V4),
        ("v3.channel.k8s.io,channel.k8s.io", (V5, V4), None),
        (SPDY, (SPDY, V4), SPDY),
        ("", (V5,), None),
    ],
)
def test_the_clients_first_choice_that_is_spoken(
    offered: str, spoken: tuple[str, ...], found: str | None
) -> None:
    assert channels.chosen(offered, spoken) == found


@pytest.mark.parametrize(
    ("message", "protocol", "frame"),
    [
        pytest.param(b"", V5, None, id="nothing"),
        pytest.param(b"\0", V5, Frame(Channel.STDIN), id="empty input"),
        pytest.param(b"\0hi", V4, Frame(Channel.STDIN, b"hi"), id="input"),
        pytest.param(b"\1hi", V5, None, id="a client has no output"),
        pytest.param(
            b'\4{"Width":80,"Height":24}', V5, Frame(Channel.RESIZE, b"80 24"), id="resize"
        ),
        pytest.param(b'\4{"Width":0,"Height":24}', V5, None, id="no columns"),
        pytest.param(b'\4{"Width":99999,"Height":24}', V5, None, id="too many columns"),
        pytest.param(b'\4{"Width":"a"}', V5, None, id="not a number"),
        pytest.param(b"\4[]", V5, None, id="not an object"),
        pytest.param(b"\4{", V5, None, id="not JSON"),
        pytest.param(b"\xff\0", V5, Frame(Channel.CLOSE), id="end of input"),
        pytest.param(b"\xff\0", V4, None, id="v4 has no end of input"),
        pytest.param(b"\xff\1", V5, None, id="end of something else"),
    ],
)
def test_messages_of_clients(message: bytes, protocol: str, frame: Frame | None) -> None:
    assert channels.decode(message, protocol) == frame


@given(st.binary(max_size=64), st.sampled_from([V4, V5]))
def test_no_message_breaks_it(message: bytes, protocol: str) -> None:
    channels.decode(message, protocol)


def test_output_keeps_its_channel() -> None:
    assert channels.encode(Frame(Channel.STDOUT, b"a")) == b"\1a"
    assert channels.encode(Frame(Channel.STDERR, b"b")) == b"\2b"


@given(st.integers(1, 255))
def test_exit_codes_arrive_as_kubectl_reads_them(code: int) -> None:
    message = channels.encode(Frame(Channel.EXIT, str(code).encode()))
    status = orjson.loads(message[1:])
    assert (message[0], status["status"], status["reason"]) == (3, "Failure", "NonZeroExitCode")
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": str(code)}]
    assert orjson.loads(channels.ended(0)[1:])["status"] == "Success"
