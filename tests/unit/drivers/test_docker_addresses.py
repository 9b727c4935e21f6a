"""Which addresses of a subnet are given."""

import ipaddress

from drivers.docker_addresses import clashing_networks, free_addresses, taken_addresses


def test_a_round_gives_each_address_once_but_the_gateways() -> None:
    given = list(free_addresses("10.201.3.0/24", frozenset({"10.201.3.9"})))
    assert len(given) == len(set(given)) == 252
    assert not {"10.201.3.0", "10.201.3.1", "10.201.3.9", "10.201.3.255"} & set(given)
    assert all(
        ipaddress.ip_address(each) in ipaddress.ip_network("10.201.3.0/24") for each in given
    )


def test_the_upper_half_comes_first_as_the_engine_gives_the_lowest_that_is_free() -> None:
    given = [ipaddress.IPv4Address(each) for each in free_addresses("10.201.3.0/24", frozenset())]
    assert len(given) == 253
    assert min(given[:127]) > max(given[127:])


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


def test_a_container_clashes_where_another_has_or_keeps_its_address() -> None:
    def entry(name: str, **networks: object) -> dict[str, object]:
        return {"Id": name, "NetworkSettings": {"Networks": networks}}

    def keeps(address: str) -> dict[str, object]:
        return {"IPAMConfig": {"IPv4Address": address}, "IPAddress": ""}

    dynamic = {"IPAMConfig": None, "IPAddress": "10.0.1.2"}
    raws = [
        entry("mine", a=keeps("10.0.0.2"), b=keeps("10.0.1.2"), c=keeps("10.0.2.2"), d=dynamic),
        entry("other", a=keeps("10.0.0.2"), b=dynamic, c=keeps("10.0.2.9"), d=dynamic),
    ]
    assert clashing_networks(raws, "mine") == {"a", "b"}
    assert clashing_networks(raws, "nobody") == frozenset()
