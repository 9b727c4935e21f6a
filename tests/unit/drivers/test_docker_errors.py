"""What the engine's refusals become."""

import pytest

from controlplane.errors import (
    ConflictError,
    DriverUnavailableError,
    RetryableError,
    TerminalError,
)
from drivers.docker_errors import (
    CommandTimeoutError,
    EngineAwayError,
    EngineError,
    EngineRefusedError,
    EngineTimeoutError,
    translate,
)


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (EngineAwayError("x"), DriverUnavailableError, "DriverUnavailable"),
        (EngineTimeoutError("x"), DriverUnavailableError, "DriverUnavailable"),
        (CommandTimeoutError("x"), RetryableError, "CommandTimedOut"),
        (EngineRefusedError(503, "x"), DriverUnavailableError, "DriverUnavailable"),
        (
            EngineRefusedError(500, "daemon is shutting down"),
            DriverUnavailableError,
            "DriverUnavailable",
        ),
        (EngineRefusedError(500, "boom"), RetryableError, "EngineError"),
        (EngineRefusedError(500, "port is already allocated"), RetryableError, "PortTaken"),
        (
            EngineRefusedError(
                500, "listen tcp4 192.0.2.7:80: bind: cannot assign requested address"
            ),
            RetryableError,
            "AddressMissing",
        ),
        (
            EngineRefusedError(
                500,
                "Failed to Setup IP tables: Unable to enable SKIP DNAT rule:  (iptables failed: "
                "iptables --wait -t nat -I DOCKER -i br-0d4943116692 -j RETURN: iptables: "
                "No chain/target/match by that name.\n (exit status 1))",
            ),
            RetryableError,
            "FirewallFlushed",
        ),
        (EngineRefusedError(404, "No such container: x"), ConflictError, "Gone"),
        (EngineRefusedError(404, "network x not found"), RetryableError, "Missing"),
        (
            EngineRefusedError(409, "removal of container x is already in progress"),
            RetryableError,
            "RemovalInProgress",
        ),
        (
            EngineRefusedError(409, 'The container name "/x" is already in use by container'),
            RetryableError,
            "NameTaken",
        ),
        (EngineRefusedError(409, "Container is paused"), RetryableError, "WrongState"),
        (EngineRefusedError(403, "network has active endpoints"), RetryableError, "NetworkInUse"),
        (
            EngineRefusedError(403, "Pool overlaps with other one on this address space"),
            RetryableError,
            "SubnetInUse",
        ),
        (EngineRefusedError(403, "Address already in use"), RetryableError, "AddressInUse"),
        (
            EngineRefusedError(
                400,
                "Invalid address 10.9.0.2: It does not belong to any of this network's subnets",
            ),
            RetryableError,
            "AddressInUse",
        ),
        (
            EngineRefusedError(
                400,
                "invalid endpoint settings:\nno configured subnet or ip-range contain the IP "
                "address 10.9.0.2",
            ),
            RetryableError,
            "AddressInUse",
        ),
        (
            EngineRefusedError(400, "bind source path does not exist: /x"),
            RetryableError,
            "SecretsMissing",
        ),
        (EngineRefusedError(400, "invalid reference format"), TerminalError, "EngineRefused"),
    ],
)
def test_translate(error: EngineError, kind: type[Exception], reason: str) -> None:
    translated = translate(error, "start container 'x'")
    assert type(translated) is kind
    assert isinstance(translated, RetryableError | TerminalError)
    assert translated.reason == reason
    assert str(translated).startswith("cannot start container 'x': ")


def test_translated_message_is_one_line_and_the_same_each_time() -> None:
    first = EngineRefusedError(500, f"endpoint {'a1' * 32} failed\nin pid 17")
    again = EngineRefusedError(500, f"endpoint {'b2' * 32} failed\nin pid 99")
    assert str(translate(first, "x")) == str(translate(again, "x"))
    assert "\n" not in str(translate(first, "x"))
    assert len(str(translate(EngineRefusedError(500, "y" * 5000), "x"))) < 400


@pytest.mark.parametrize(
    "text",
    [
        "driver failed: Error starting userland proxy: listen tcp4 127.0.0.1:80: bind: address"
        " already in use",
        "driver failed: Bind for 127.0.0.1:80 failed: port is already allocated",
        "failed to bind host port 127.0.0.1:80/tcp: address already in use",
    ],
)
def test_a_taken_port_is_told_with_its_address_and_the_way_out(text: str) -> None:
    told = str(translate(EngineRefusedError(500, text), "start container 'x'"))
    assert "listens at 127.0.0.1:80;" in told
    assert "choose another port" in told
