"""Subnets: one each, none that the host uses."""

import pytest

from controlplane.errors import RetryableError
from controlplane.subnets import SubnetPool


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
