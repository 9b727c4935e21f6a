"""Subnets: one each, none that the host uses."""

import random
from ipaddress import IPv4Network

import pytest

from controlplane.errors import RetryableError
from controlplane.subnets import SubnetPool
from tests.support.costs import python_calls


def test_each_has_its_own_and_keeps_it() -> None:
    pool = SubnetPool("10.201.0.0/16")
    assert pool.assign("a") == "10.201.0.0/24"
    assert pool.assign("b") == "10.201.1.0/24"
    assert pool.assign("a") == "10.201.0.0/24"
    pool.release("a")
    assert pool.assign("c") == "10.201.0.0/24"


def test_what_overlaps_a_route_of_the_host_is_left_alone() -> None:
    pool = SubnetPool("10.201.0.0/16")
    avoid = ("0.0.0.0/0", "fe80::/64", "10.201.0.0/23", "10.201.2.128/25")
    assert pool.assign("a", avoid) == "10.201.3.0/24"


def test_restart_takes_up_what_the_store_says() -> None:
    pool = SubnetPool("10.201.0.0/23")
    pool.load([("a", "10.201.0.0/24"), ("b", "10.201.1.0/24")])
    assert pool.assign("b") == "10.201.1.0/24"
    with pytest.raises(RetryableError, match="every /24"):
        pool.assign("c")


def test_one_that_was_given_up_is_taken_again_only_when_there_is_no_other() -> None:
    pool = SubnetPool("10.201.0.0/23")
    assert pool.assign("a") == "10.201.0.0/24"
    pool.give_up("a")
    assert pool.assign("a") == "10.201.1.0/24"
    with pytest.raises(RetryableError, match="every /24"):
        pool.assign("b")
    assert pool.assign("b") == "10.201.0.0/24"


def lowest(pool: str, taken: list[str]) -> str | None:
    """By comparing each with each."""
    network, others = IPv4Network(pool), [IPv4Network(each) for each in taken]
    for subnet in network.subnets(new_prefix=max(24, network.prefixlen)):
        if not any(subnet.overlaps(other) for other in others):
            return str(subnet)
    return None


def around(rng: random.Random, pool: str, number: int) -> list[str]:
    """Networks of any size in and near a pool."""
    first = int(IPv4Network(pool).network_address)
    spread = 2 * IPv4Network(pool).num_addresses
    found = []
    for _ in range(number):
        address = min(max(0, first + rng.randrange(-spread, spread)), 2**32 - 1)
        prefix = rng.choice((12, 20, 21, 22, 23, 24, 24, 24, 24, 25, 27, 30, 32))
        found.append(str(IPv4Network((address, prefix), strict=False)))
    return found


@pytest.mark.parametrize(
    "pool", ["10.201.0.0/20", "10.201.48.0/21", "10.0.0.128/25", "255.255.252.0/22", "0.0.0.0/22"]
)
@pytest.mark.parametrize("seed", range(40))
def test_it_is_the_lowest_that_overlaps_nothing(pool: str, seed: int) -> None:
    rng = random.Random(seed)
    networks = around(rng, pool, rng.randrange(30))
    held, routes = networks[::2], networks[1::2]
    subnets = SubnetPool(pool)
    subnets.load((str(each), subnet) for each, subnet in enumerate(held))
    for uid in "abcdefgh":
        expected = lowest(pool, held + routes)
        if expected is None:
            with pytest.raises(RetryableError):
                subnets.assign(uid, routes)
            return
        assert subnets.assign(uid, routes) == expected
        held.append(expected)


def test_one_more_costs_in_proportion_to_those_held() -> None:
    def cost(number: int) -> int:
        pool = SubnetPool("10.0.0.0/12")
        pool.load((str(each), f"10.{each // 256}.{each % 256}.0/24") for each in range(number))
        with python_calls() as count:
            pool.assign("one more")
        return count.calls

    assert cost(1600) < 5 * cost(400)
