"""Host ports: each held by one record, and none that another program listens on."""

import pytest

from controlplane.errors import RetryableError
from controlplane.ports import PortPool
from resources.meta import ANY_FREE


def test_assign_gives_the_lowest_free_port_and_keeps_it() -> None:
    pool = PortPool(range(30000, 30003))
    assert pool.assign("a", (None,)) == (30000,)
    assert pool.assign("b", (None,)) == (30001,)
    assert pool.assign("a", (None,)) == (30000,)


def test_assign_passes_over_ports_that_other_programs_listen_on() -> None:
    busy = {30000, 30001}
    pool = PortPool(range(30000, 30003), lambda: busy)
    assert pool.assign("a", (None,)) == (30002,)
    busy.add(30002)  # our own container listens there now
    assert pool.assign("a", (None,)) == (30002,)


def test_assign_refuses_when_the_pool_is_exhausted() -> None:
    pool = PortPool(range(30000, 30001), lambda: {30000})
    with pytest.raises(RetryableError) as refused:
        pool.assign("a", (None,))
    assert refused.value.reason == "PortsExhausted"
    assert pool.held("a") == ()


def test_assign_refuses_a_number_that_another_record_holds() -> None:
    pool = PortPool(range(30000, 30002))
    pool.assign("a", (30000,))
    with pytest.raises(RetryableError) as refused:
        pool.assign("b", (30000,))
    assert refused.value.reason == "PortTaken"


def test_what_is_asked_for_by_no_place_is_given_none_that_the_record_has_for_another() -> None:
    pool = PortPool(range(30000, 30003))
    pool.assign("a", (25, None))
    assert pool.assign("a", (ANY_FREE, 30000)) == (30001, 30000, 25)
    pool.settle("a", (25, 30000))
    assert pool.assign("a", (ANY_FREE, ANY_FREE)) == (30001, 30002, 25, 30000)


@pytest.mark.parametrize("stored", [True, False])
def test_a_port_is_kept_until_the_store_has_the_one_after_it(stored: bool) -> None:
    pool = PortPool(range(30000, 30003))
    pool.assign("a", (30000,))
    pool.settle("a", (30000,))
    assert pool.assign("a", (30001,)) == (30001, 30000)
    with pytest.raises(RetryableError):
        pool.assign("b", (30000,))
    assert pool.assign("b", (None,)) == (30002,)
    pool.settle("a", (30001,) if stored else (30000,))
    free, held = (30000, 30001) if stored else (30001, 30000)
    with pytest.raises(RetryableError):
        pool.assign("c", (held,))
    assert pool.assign("c", (free,)) == (free,)


def test_a_record_may_go_back_to_the_port_that_it_was_to_leave() -> None:
    pool = PortPool(range(30000, 30002))
    had: tuple[int, ...] = ()
    for wanted in (30000, 30001, 30000):
        had = (wanted, *(port for port in had if port != wanted))
        assert pool.assign("a", (wanted,)) == had
    pool.release("a")
    assert pool.assign("b", (30000, 30001)) == (30000, 30001)


@pytest.mark.parametrize("restarted", [True, False])
def test_a_port_that_was_given_up_is_kept_while_the_store_says_so(restarted: bool) -> None:
    pool = PortPool(range(30000, 30003))
    pool.settle("a", (8080,))
    had: tuple[int, ...] = (8080,)
    for wanted in (9090, 9091):
        had = (wanted, *had)
        assert pool.assign("a", (wanted,)) == had
        assert pool.assign("a", (wanted,)) == had
        pool.settle("a", had)
    assert pool.assign("a", ()) == (9091, 9090, 8080)
    if restarted:
        pool.load([("a", (9091, 9090, 8080))])
    for taken in (9091, 9090, 8080):
        with pytest.raises(RetryableError):
            pool.assign("b", (taken,))
    assert pool.uids() == {"a"}
    pool.settle("a", (9091,))
    assert pool.assign("b", (8080, 9090)) == (8080, 9090)
    pool.release("a")
    assert pool.uids() == {"b"}
