"""What the PowerDNS driver makes of servers that don't behave."""

from contextlib import aclosing
from dataclasses import replace

import pytest

from controlplane.errors import DriverUnavailableError, RetryableError
from drivers.fake.powerdns import FakePowerDns
from drivers.powerdns import DnsServer, PowerDns
from drivers.powerdns_http import HttpPowerDns
from drivers.powerdns_query import ask_serial
from tests.contract.powerdns.worlds import KEY, World
from tests.contract.silent import answering


@pytest.mark.parametrize("side", ["fake", "real"])
async def test_where_nothing_listens_the_driver_is_unavailable(side: str) -> None:
    made: PowerDns = FakePowerDns() if side == "fake" else HttpPowerDns()
    async with aclosing(made) as driver:
        with pytest.raises(DriverUnavailableError):
            await driver.observe_zone(DnsServer("http://127.0.0.1:1", KEY), "a.test.")


async def test_a_wrong_key_is_told_as_such(world: World) -> None:
    with pytest.raises(RetryableError) as refused:
        await world.driver.observe_zone(replace(world.server, api_key="wrong"), world.zone)
    assert refused.value.reason == "AccessDenied"
    assert KEY not in repr(world.server)


def _http(status: str, body: str) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return (head + body).encode()


ODD = {
    "another API": (_http("200 OK", '{"error": "no"}'), "UnexpectedAnswer"),
    "a web page": (_http("200 OK", "<html>hello</html>"), "UnexpectedAnswer"),
    "a redirect": (_http("302 Found", ""), "UnexpectedAnswer"),
    "a list": (_http("200 OK", "[1, 2]"), "UnexpectedAnswer"),
    "half a zone": (_http("200 OK", '{"name": "a.test.", "rrsets": [{}]}'), "UnexpectedAnswer"),
    "no database": (_http("500 Internal Server Error", '{"error": "sqlite"}'), "ServerFailed"),
    "no HTTP": (b"hello\r\n\r\n", "DriverUnavailable"),
    "nothing": (_http("200 OK", ""), "UnexpectedAnswer"),
}


@pytest.mark.parametrize(("answer", "reason"), ODD.values(), ids=ODD.keys())
async def test_an_odd_answer_is_an_error_of_ours(answer: bytes, reason: str) -> None:
    async with answering(answer) as port, aclosing(HttpPowerDns()) as driver:
        with pytest.raises(RetryableError) as refused:
            await driver.observe_zone(DnsServer(f"http://127.0.0.1:{port}", KEY), "a.test.")
    assert refused.value.reason == reason


async def test_a_hanging_server_is_given_up() -> None:
    async with answering(b"") as port, aclosing(HttpPowerDns(timeout_s=0.05)) as driver:
        with pytest.raises(DriverUnavailableError) as late:
            await driver.observe_zone(DnsServer(f"http://127.0.0.1:{port}", KEY), "a.test.")
    assert "no answer in time" in str(late.value)


async def test_a_server_that_says_nothing_over_dns_does_not_answer() -> None:
    # nothing listens there: the engine's host says so, or nothing does
    assert await ask_serial("127.0.0.1:1", "a.test.", timeout_s=0.05) is None
    assert await ask_serial("nonsense", "a.test.") is None
