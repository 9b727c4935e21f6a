"""What reconcilers send to servers to be let in."""

from dataclasses import replace

import pytest

from controlplane.errors import RetryableError
from reconcilers._credentials import credential
from tests.unit.reconcilers.mail import SERVICE, domain, world_with_server
from tests.unit.reconcilers.zones import ZoneWorld, zone


def read(value: bytes | None) -> str:
    values = None if value is None else {"api-key": value}
    return credential(values, "api-key", secret="platform/dns", use="reach the DNS server")


def test_a_newline_of_the_file_it_came_from_is_no_part_of_it() -> None:
    assert read(b"s3cret\n") == "s3cret"


@pytest.mark.parametrize("value", [None, b"", b" \n"])
def test_none_is_told_with_the_secret_and_its_key(value: bytes | None) -> None:
    with pytest.raises(RetryableError) as told:
        read(value)
    assert told.value.reason == "SecretMissing"
    assert "Secret 'platform/dns' has no key 'api-key'" in str(told.value)


@pytest.mark.parametrize(
    "value", [b"one\ntwo", b"one\r\nX-Other: two", b"\xff\xfe", "schlüssel".encode()]
)
def test_what_no_header_carries_is_told_without_the_value(value: bytes) -> None:
    with pytest.raises(RetryableError) as told:
        read(value)
    assert told.value.reason == "SecretInvalid"
    assert "printable ASCII" in str(told.value)
    assert "two" not in str(told.value)
    assert "schl" not in str(told.value)


async def test_a_zone_is_served_with_a_key_that_ends_in_a_newline() -> None:
    world = ZoneWorld()
    world.values.data[("Secret", "dns-credentials")] = {"api-key": b"key\n"}
    await world.settle(zone())
    assert world.found.name == "shop.example.org."


async def test_a_zone_tells_of_a_key_that_no_header_carries() -> None:
    world = ZoneWorld()
    world.values.data[("Secret", "dns-credentials")] = {"api-key": b"k\ney"}
    with pytest.raises(RetryableError) as told:
        await world.look(zone())
    assert told.value.reason == "SecretInvalid"


async def test_a_mail_server_of_others_without_a_secret_is_told() -> None:
    world = world_with_server()
    external = {"endpoint": "https://mail.example.net:443"}
    world.services["mail"] = replace(SERVICE, spec={"external": external})
    with pytest.raises(RetryableError) as told:
        await world.look(domain())
    assert told.value.reason == "SecretMissing"
    assert "spec.external.secretRef" in str(told.value)
