"""What the S3 driver makes of a server: its credentials, odd answers, what it keeps closed."""

from contextlib import aclosing
from dataclasses import replace

import pytest

from controlplane.errors import DriverUnavailableError, RetryableError, TerminalError
from drivers.s3 import S3Server
from drivers.s3_network import NetworkS3
from tests.containers import Running
from tests.contract.s3.worlds import KEY, World
from tests.contract.silent import answering

# --- the server ------------------------------------------------------------------------------


async def test_a_server_takes_its_credentials(world: World) -> None:
    await world.driver.observe_server(world.server)


@pytest.mark.parametrize("wrong", [{"secret_key": "no"}, {"access_key": "NOBODY00"}])
async def test_wrong_credentials_are_told_as_such(world: World, wrong: dict[str, str]) -> None:
    other = replace(world.server, **wrong)
    with pytest.raises(RetryableError) as told:
        await world.driver.observe_server(other)
    assert told.value.reason == "AccessRefused"
    with pytest.raises(RetryableError) as told:
        await world.driver.list_users(other, "x")
    assert told.value.reason == "AccessRefused"


async def test_where_nobody_listens_the_driver_is_unavailable(world: World) -> None:
    nowhere = replace(world.server, endpoint="http://127.0.0.1:1")
    with pytest.raises(DriverUnavailableError):
        await world.driver.observe_bucket(nowhere, world.bucket)


# --- what isn't a server, or an odd one --------------------------------------------------------


def _http(status: str, body: bytes, kind: str = "application/xml") -> bytes:
    about = f"content-type: {kind}\r\ncontent-length: {len(body)}\r\nconnection: close"
    return f"HTTP/1.1 {status}\r\n{about}\r\n\r\n".encode() + body


ODD = [
    pytest.param(_http("200 OK", b"<html><p>hello</html>", "text/html"), "BadAnswer", id="a page"),
    pytest.param(_http("200 OK", b"\x00\x01 not xml"), "BadAnswer", id="no XML"),
    pytest.param(_http("503 Slow Down", b""), "ServerError", id="overloaded"),
    pytest.param(
        _http("200 OK", b"<Error><Code>InternalError</Code></Error>"),
        "ServerError",
        id="200, error",
    ),
    pytest.param(_http("403 Forbidden", b""), "AccessRefused", id="forbidden"),
]


@pytest.mark.parametrize(("answer", "reason"), ODD)
async def test_an_odd_answer_is_told_by_its_kind(answer: bytes, reason: str) -> None:
    async with aclosing(NetworkS3()) as driver, answering(answer) as port:
        with pytest.raises(RetryableError) as told:
            await driver.observe_server(S3Server(f"http://127.0.0.1:{port}", "K", "s"))
    assert told.value.reason == reason


async def test_a_server_that_chooses_keys_itself_is_told_apart() -> None:
    body = (
        b"<CreateAccessKeyResponse><CreateAccessKeyResult><AccessKey><UserName>u</UserName>"
        b"<AccessKeyId>AKIAOTHERAKIAOTHER00</AccessKeyId><Status>Active</Status><SecretAccessKey>s"
        b"</SecretAccessKey></AccessKey></CreateAccessKeyResult></CreateAccessKeyResponse>"
    )
    async with aclosing(NetworkS3()) as driver, answering(_http("200 OK", body)) as port:
        with pytest.raises(TerminalError) as told:
            await driver.ensure_key(S3Server(f"http://127.0.0.1:{port}", "K", "s"), "u", KEY, "s")
    assert told.value.reason == "NotSupported"


@pytest.mark.docker
async def test_the_servers_inner_ports_are_closed(running: Running) -> None:
    """Whoever reaches the filer or the gateway's gRPC could make identities."""
    listening = running.exec("cat", "/proc/net/tcp", "/proc/net/tcp6").splitlines()
    opened = {line.split()[1] for line in listening if " 0A " in line}
    wide = {int(a.split(":")[1], 16) for a in opened if not a.startswith("0100007F")}
    assert wide == {8333, 18333}
    refused = running.exec(
        "sh", "-c", "sleep 1 | openssl s_client -connect 127.0.0.1:18333 -alpn h2 2>&1; true"
    )
    assert "alert certificate required" in refused
