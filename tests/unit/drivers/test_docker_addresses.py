"""Which addresses of a subnet are given."""

import ipaddress

from drivers.docker_addresses import free_addresses, taken_addresses


def test_a_round_gives_each_address_once_but_the_gateways() -> None:
    given = list(free_addresses("10.201.3.0/24", frozenset({"10.201.3.9"})))
    assert len(given) == len(set(given)) == 252
    assert not {"10.201.3.0", "10.201.3.1", "10.201.3.9", "10.201.3.255"} & set(given)
    assert all(
        ipaddress.ip_address(each) in ipaddress.ip_network("10.201.3.0/24") for each in given
    )


def test_a_subnet_too_small_for_any_has_none() -> None:
    assert list(free_addresses("10.201.3.0/30", frozenset({"10.201.3.2"}))) == []
    assert list(free_addresses("10.201.3.0/31", frozenset())) == []


def test_a_round_begins_anywhere() -> None:
    assert len({next(free_addresses("10.201.0.0/16", frozenset())) for _ in range(20)}) > 10


def test_an_address_is_taken_by_who_runs_and_by_who_keeps_it() -> None:
    def entry(**end: object) -> dict[str, object]:
        return {"NetworkSettings": {"Networks": {"net": end, "other": {"IPAddress": "10.0.0.9"}}}}

    raws: list[dict[str, object]] = [
        entry(IPAddress="10.0.0.2", IPAMConfig=None),
        entry(IPAddress="", IPAMConfig={"IPv4Address": "10.0.0.3"}),
        entry(IPAddress="", IPAMConfig={}),
        {"NetworkSettings": None},
        {},
    ]
    assert taken_addresses(raws, "net") == {"10.0.0.2", "10.0.0.3"}
