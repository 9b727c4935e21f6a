"""Which replica comes and goes next, and that none goes while requests are sent to it."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.plan import Plan, Resolved, Wait, Want
from drivers.containers import Limits
from drivers.fake.engine import BLANK
from reconcilers._rollout import Replica, Rollout, backends, drained, rollout, routed
from resources.app import App
from resources.meta import STORED
from tests.unit.reconcilers.world import NETWORK, UID, World, app

DOMAIN = [{"host": "shop.example.org"}]


def replica(slot: int, *, serves: bool = True, name: str = "") -> Replica:
    state = replace(
        BLANK,
        id=f"id-{name or slot}",
        name=name or f"app-{slot}",
        image="shop:1",
        running=serves,
        limits=Limits(1, 1),
        networks={NETWORK: f"10.0.0.{slot + 2}"},
    )
    return Replica(slot, state, serves, port=80)


@pytest.mark.parametrize(
    ("slots", "outdated", "total", "surge", "makes", "leaving"),
    [
        pytest.param([], [], 2, 0, (0, 1), (), id="none yet"),
        pytest.param([1], [], 2, 0, (0,), (), id="one is missing"),
        pytest.param([0, 1], [], 2, 0, (), (), id="all there"),
        pytest.param([0, 1], [0, 1], 2, 0, (0,), (0,), id="exchanged in its slot"),
        pytest.param([0], [0], 1, 1, (1,), (), id="the new one first"),
        pytest.param([0, 1], [0], 1, 1, (), (0,), id="then the old one goes"),
        pytest.param([1], [], 1, 1, (), (), id="and that is that"),
        pytest.param([0, 1], [], 1, 1, (), (1,), id="one too many"),
        pytest.param([0, 1, 2], [], 1, 0, (), (2, 1), id="scaled down"),
        pytest.param([0, 1], [0], 0, 1, (), (1, 0), id="scaled to zero"),
    ],
)
def test_what_is_next(
    slots: list[int],
    outdated: list[int],
    total: int,
    surge: int,
    makes: tuple[int, ...],
    leaving: tuple[int, ...],
) -> None:
    found = rollout(tuple(map(replica, slots)), set(outdated), total, surge, busy=False)
    assert found.makes == makes
    assert tuple(each.slot for each in found.leaving) == leaving


def test_a_new_one_that_does_not_serve_holds_everything() -> None:
    there = (replica(0), replica(1, serves=False))
    assert rollout(there, {0}, 1, 1, busy=False) == Rollout()


def test_a_broken_old_one_is_exchanged_at_once_and_a_broken_new_one_taken_back() -> None:
    there = (replica(0, serves=False), replica(1))
    assert rollout(there, {0, 1}, 2, 0, busy=False) == Rollout((0,), (there[0],))
    back = (replica(0), replica(1, serves=False))
    assert rollout(back, {1}, 1, 1, busy=False) == Rollout((), (back[1],))


@given(
    total=st.integers(1, 4),
    surge=st.integers(0, 3),
    started=st.data(),
)
def test_any_exchange_ends_and_never_has_fewer_or_more_than_it_may(
    total: int, surge: int, started: st.DataObject
) -> None:
    slots = started.draw(
        st.sets(st.integers(0, total + surge - 1), min_size=total, max_size=total), label="slots"
    )
    there = dict.fromkeys(slots, True)
    for _ in range(4 * (total + surge)):
        outdated = {slot for slot, old in there.items() if old}
        found = rollout(
            tuple(replica(s) for s in sorted(there)), outdated, total, surge, busy=False
        )
        if found == Rollout():
            break
        for each in found.leaving:
            del there[each.slot]
        assert len(there) >= total - (0 if surge else 1)
        for slot in found.makes:
            there[slot] = False
        assert len(there) <= total + surge
    assert len(there) == total
    assert not any(there.values())


def want_of(*, routes: dict[str, list[str]] | None = None, ready: bool = True, **spec: Any) -> Any:
    record = app(**{"domains": DOMAIN, "port": 80, **spec})
    status = {"routes": routes if routes is not None else {}}
    ingress = Resolved("Platform", "ingress", "i", ready, "", None, {}, status)
    return Want(record=record, network=NETWORK, services={"ingress": ingress})


def test_requests_go_to_all_that_serve_but_those_that_leave() -> None:
    there = (replica(0), replica(1), replica(2, serves=False))
    assert backends(want_of(), there, ()) == ("10.0.0.2:80", "10.0.0.3:80")
    assert backends(want_of(), there, there[:1]) == ("10.0.0.3:80",)
    # the last one that serves gets them until it goes
    assert backends(want_of(), there, there[:2]) == ("10.0.0.2:80", "10.0.0.3:80")
    assert backends(want_of(domains=[]), there, ()) == ()


def test_one_that_is_routed_to_stays_until_it_is_not() -> None:
    there = (replica(0), replica(1))
    routed_to = {UID: ["10.0.0.2:80", "10.0.0.3:80"]}
    wait = drained(want_of(routes=routed_to), there, there[:1])
    assert isinstance(wait, Wait)
    assert wait.reason == "Draining"
    assert drained(want_of(routes={UID: ["10.0.0.3:80"]}), there, there[:1]) is None
    assert routed(want_of(routes=routed_to), ("10.0.0.3:80", "10.0.0.2:80")) is True
    assert routed(want_of(routes=routed_to), ("10.0.0.3:80",)) is False
    assert routed(want_of(domains=[]), ()) is None


def test_nothing_is_waited_for_that_cannot_come() -> None:
    there = (replica(0), replica(1))
    routes = {UID: ["10.0.0.2:80"]}
    assert drained(want_of(routes=routes, ready=False), there, there[:1]) is None
    assert drained(want_of(routes=routes), there, there) is None
    assert drained(want_of(routes=routes, domains=[]), there, there[:1]) is None
    assert drained(want_of(routes=routes), there, ()) is None


# -- the whole App


async def test_a_single_replica_changes_without_a_gap_and_only_when_it_is_drained() -> None:
    world = World()
    await world.network()
    first = app(domains=DOMAIN, surge=1)
    assert first.footprint == first.spec.resources.footprint.times(2)
    assert (await world.settle(first)).ready
    old = world.engine.by_name(f"app-shop-shop-{UID[:8]}-0").state
    backend = f"{old.networks[NETWORK]}:80"
    world.services = {"ingress": ingress_with([backend])}
    changed = app(domains=DOMAIN, surge=1, image="shop:2")
    report = await world.settle(changed)
    names = {c.state.name for c in world.engine.containers.values()}
    assert len(names) == 2, "the old one is there for as long as it is routed to"
    status = report.status.model_dump()
    assert status["backends"] != (backend,)
    assert backend not in status["backends"]
    plan, _ = await world.look(changed)
    assert plan.wait is not None
    assert plan.wait.reason == "Draining"
    world.services = {"ingress": ingress_with(list(status["backends"]))}
    report = await world.settle(changed)
    (left,) = world.engine.containers.values()
    assert left.state.image == "shop:2"
    assert report.status.model_dump()["routed"] is True
    assert (await world.look(changed))[0] == Plan()


def ingress_with(backends: list[str]) -> Resolved:
    return Resolved("Platform", "ingress", "i", True, "", None, {}, {"routes": {UID: backends}})


def test_a_host_is_claimed_and_an_app_without_domains_needs_no_ingress() -> None:
    made = app(domains=DOMAIN)
    hosts = [(c.name, c.subtree) for c in made.claims if c.scope == "host"]
    assert hosts == [("shop.example.org", True)]
    assert made.services == ("ingress",)
    assert app().services == ()
    assert [c.scope for c in app().claims] == ["network"]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"domains": [{"host": "x`) || HostRegexp(`.+`) || Host(`x"}]}, "host name"),
        ({"domains": [{"host": "*.example.org"}]}, "host name"),
        ({"domains": [{"host": "Shop.example.org"}]}, "host name"),
        ({"domains": [{"host": "shop.example.org."}]}, "host name"),
        ({"domains": [{"host": "shop"}]}, "host name"),
        ({"domains": [{"host": "10.0.0.1"}]}, "host name"),
        ({"domains": [{"host": "a" * 64 + ".org"}]}, "host name"),
        ({"domains": [{"host": "shop.example.org/x"}]}, "host name"),
        ({"domains": [*DOMAIN, {"host": "co.uk"}]}, "'co.uk' is a public suffix"),
        ({"domains": [{"host": "shop.ck"}]}, "'shop.ck' is a public suffix"),
        ({"domains": DOMAIN * 2}, "twice"),
        ({"domains": DOMAIN, "port": None}, r"spec\.port"),
        ({"publish": {}, "surge": 1}, "surge"),
    ],
)
def test_a_domain_that_is_no_plain_host_name_is_refused(spec: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        app(**{"port": 80, **spec})


@pytest.mark.parametrize(
    "host",
    ["shop.co.uk", "shop.test", "shop.home.arpa", "home.arpa", "shop.internal", "shop.github.io"],
)
def test_a_domain_below_a_public_suffix_is_taken_and_so_are_private_names(host: str) -> None:
    assert app(port=80, domains=[{"host": host}]).spec.domains[0].host == host


def test_a_public_suffix_that_was_stored_earlier_is_still_read() -> None:
    told = app(port=80, domains=DOMAIN).model_dump(by_alias=True)
    told["spec"]["domains"] = [{"host": "co.uk"}]
    assert App.model_validate(told, context=STORED).spec.domains[0].host == "co.uk"
    with pytest.raises(ValueError, match="public suffix"):
        App.model_validate(told)
