"""One record's life, pass by pass: created, healed, edited, paused, deleted."""

import asyncio

import pytest

from controlplane.errors import DriverUnavailableError, RetryableError, TerminalError
from resources.meta import FINALIZER
from tests.support.bench import Bench, box_key, space_key
from tests.support.running import USER
from tests.support.toys import World
from tests.support.virtual import in_virtual_time

A = box_key("a")


@in_virtual_time
async def test_box_becomes_ready_and_says_so() -> None:
    async with Bench().shop("a", cpu="500m", memory="1Gi") as bench:
        assert bench.ready(A)
        assert bench.condition(A, "Synced")["status"] == "True"
        assert bench.condition(A, "Stalled")["status"] == "False"
        assert bench.condition(A, "Admitted")["status"] == "True"
        assert bench.status(A)["observedGeneration"] == 1
        assert bench.status(A)["allocation"] == {"cpu": "500m", "memory": "1Gi", "disk": "0"}
        assert FINALIZER in bench.get(A).meta["finalizers"]
        assert bench.thing(A) is not None
        assert bench.status(space_key())["allocation"]["subnet"] == "10.201.0.0/24"


@in_virtual_time
async def test_what_fails_before_it_holds_anything_is_not_called_admitted() -> None:
    for error in (RetryableError("no", reason="Odd"), TerminalError("never", reason="Odd")):
        async with Bench().running() as bench:
            await bench.namespace()
            await bench.settle(10)
            bench.world.away = error
            await bench.box("a", cpu="1", memory="1Gi")
            await bench.settle(30)
            assert bench.condition(A, "Synced")["reason"] == "Odd"
            assert "allocation" not in bench.status(A)
            told = bench.condition(A, "Admitted")
            assert (told["status"], told["reason"]) == ("Unknown", "Pending")


@in_virtual_time
async def test_what_fails_while_it_holds_its_room_stays_admitted() -> None:
    async with Bench().shop("a", cpu="1") as bench:
        bench.world.away = RetryableError("no", reason="Odd")
        await bench.edit(A, size=2)
        await bench.settle(30)
        assert bench.condition(A, "Synced")["reason"] == "Odd"
        assert bench.condition(A, "Admitted")["status"] == "True"


@pytest.mark.parametrize("copies", [1, 2])
@in_virtual_time
async def test_conditions_that_somebody_wrote_without_a_time_hinder_no_pass(copies: int) -> None:
    async with Bench().shop("a") as bench:
        told = [{"type": kind, "status": "True", "reason": "X"} for kind in ("Ready", "Synced")]
        base = bench.get(A)
        obj = {**base.obj, "status": {**bench.status(A), "conditions": told * copies}}
        await bench.records.update(base, obj, actor=USER, subresource="status")
        await bench.edit(A, size=2)
        await bench.settle(30)
        assert bench.status(A)["size"] == 2
        assert [each["type"] for each in bench.status(A)["conditions"]].count("Ready") == 1
        assert all(each["lastTransitionTime"] for each in bench.status(A)["conditions"])
        await bench.delete(A)
        await bench.settle(30)
        assert bench.find(A) is None


@in_virtual_time
async def test_converged_record_costs_no_write_for_a_day() -> None:
    async with Bench().running() as bench:
        await bench.namespace()
        await bench.box("a")
        await bench.settle(60)
        writes, passes = len(bench.store.writes), bench.world.calls["observe"]
        await bench.settle(24 * 3600)
        events = [w for w in bench.store.writes[writes:] if w.key.kind != "Event"]
        assert events == []
        assert bench.world.calls["observe"] - passes > 100
        assert bench.world.calls["ensure"] == 2


@in_virtual_time
async def test_first_write_commits_finalizer_and_allocation_before_any_step() -> None:
    async with Bench(world=World(slow=asyncio.Event())).running() as bench:
        await bench.namespace()
        assert bench.world.slow is not None
        bench.world.slow.set()
        await bench.settle()
        bench.world.slow.clear()
        await bench.box("a", cpu="1")
        await bench.settle()
        assert bench.thing(A) is None
        assert bench.world.calls["ensure"] == 2
        assert bench.status(A)["allocation"]["cpu"] == "1"
        assert FINALIZER in bench.get(A).meta["finalizers"]
        assert bench.condition(A, "Synced")["reason"] == "Progressing"
        assert bench.store.writes_to(A) == 2
        bench.world.slow.set()
        await bench.settle()
        assert bench.store.writes_to(A) == 3


@pytest.mark.parametrize(
    ("recheck_s", "told"),
    [pytest.param(0.05, "Progressing", id="soon over"), pytest.param(0.5, "Reconciled", id="long")],
)
@in_virtual_time
async def test_a_start_is_told_as_waited_for_only_when_it_takes_long(
    recheck_s: float, told: str
) -> None:
    async with Bench(world=World(starting_s=recheck_s)).shop() as bench:
        await bench.box("a")
        await bench.settle(2)
        assert bench.world.calls["observe"] > 3, "it is looked at again and again"
        assert bench.condition(A, "Synced")["reason"] == told
        assert not bench.ready(A)
        bench.start_thing(A)
        await bench.settle(2)
        assert bench.ready(A)
        assert bench.condition(A, "Synced")["reason"] == "Reconciled"
        # created, committed before the start, waiting (if told), Ready
        assert bench.store.writes_to(A) == (3 if told == "Progressing" else 4)


@in_virtual_time
async def test_serving_record_says_at_once_that_it_starts_again() -> None:
    async with Bench().shop("a") as bench:
        assert bench.ready(A)
        bench.start_thing(A, recheck_s=0.05)
        await bench.wake(A)
        await bench.settle(0.5)
        assert not bench.ready(A)
        assert bench.condition(A, "Ready")["reason"] == "Starting"


@in_virtual_time
async def test_killed_thing_is_healed_on_a_wake() -> None:
    async with Bench().shop("a") as bench:
        bench.break_thing(A)
        await bench.wake(A)
        await bench.settle(0.5)
        assert bench.runs(A)
        assert bench.ready(A)


@in_virtual_time
async def test_edit_is_applied_and_an_edit_meanwhile_is_not_lost() -> None:
    async with Bench(world=World(latency_s=1.0)).shop() as bench:
        await bench.box("a", size=1)
        await bench.settle(0.5)
        await bench.edit(A, size=2)
        await bench.settle(10)
        assert bench.status(A)["size"] == 2
        assert bench.status(A)["observedGeneration"] == 2


@in_virtual_time
async def test_paused_from_the_start_has_no_finalizer_and_goes_at_once() -> None:
    async with Bench().shop("a", paused=True) as bench:
        assert "finalizers" not in bench.get(A).meta
        assert bench.condition(A, "Synced")["reason"] == "Paused"
        assert bench.thing(A) is None
        await bench.delete(A)
        assert bench.find(A) is None


@in_virtual_time
async def test_paused_later_is_left_alone_and_can_be_deleted() -> None:
    async with Bench().shop("a") as bench:
        await bench.edit(A, paused=True, size=9)
        await bench.settle(2000)
        assert bench.status(A)["size"] == 1
        assert bench.ready(A)
        assert bench.condition(A, "Synced")["status"] == "False"
        await bench.delete(A)
        await bench.settle()
        assert bench.find(A) is None
        assert not [name for name in bench.world.things if name.startswith("box")]


@in_virtual_time
async def test_delete_waits_for_other_peoples_finalizers() -> None:
    async with Bench().shop("a") as bench:
        await bench.put_finalizers(A, FINALIZER, "other/one")
        await bench.delete(A)
        await bench.settle()
        assert bench.get(A).meta["finalizers"] == ["other/one"]
        assert "allocation" not in bench.status(A)
        assert bench.thing(A) is None
        await bench.put_finalizers(A)
        await bench.settle()
        assert bench.find(A) is None


@in_virtual_time
async def test_finalizer_taken_off_by_hand_is_put_back() -> None:
    async with Bench().shop("a") as bench:
        await bench.put_finalizers(A)
        await bench.settle()
        assert bench.get(A).meta["finalizers"] == [FINALIZER]


@in_virtual_time
async def test_record_that_went_without_its_finalizer_is_swept() -> None:
    async with Bench().shop("a", cpu="1") as bench:
        bench.world.slow = asyncio.Event()
        await bench.put_finalizers(A)
        await bench.delete(A)
        assert bench.find(A) is None
        assert bench.ledger.totals().allocated.cpu_millicores == 1000
        bench.world.slow.set()
        await bench.settle(30)
        assert not [name for name in bench.world.things if name.startswith("box")]
        assert bench.ledger.totals().allocated.cpu_millicores == 0


@in_virtual_time
async def test_retryable_error_backs_off_and_recovers() -> None:
    async with Bench().shop() as bench:
        bench.world.errors = [RetryableError("cannot ensure thing 'a': busy")] * 4
        await bench.box("a")
        await bench.settle(0.2)
        assert bench.condition(A, "Synced")["message"] == "cannot ensure thing 'a': busy"
        await bench.settle(60)
        assert bench.ready(A)
        assert bench.world.calls["ensure"] == 6


@in_virtual_time
async def test_an_error_may_bound_its_backoff() -> None:
    async with Bench().shop() as bench:
        bench.world.errors = [RetryableError("cannot ensure thing 'a': busy", at_most_s=2.0)] * 20
        await bench.box("a")
        await bench.settle(41)
        assert bench.ready(A)
        assert bench.world.calls["ensure"] == 22


@in_virtual_time
async def test_unchanged_problem_writes_nothing() -> None:
    async with Bench().shop() as bench:
        bench.world.errors = [RetryableError("cannot ensure thing 'a': busy")] * 1000
        await bench.box("a")
        await bench.settle(10)
        writes = bench.store.writes_to(A)
        await bench.settle(3600)
        assert bench.store.writes_to(A) == writes


@in_virtual_time
async def test_terminal_error_stalls_until_an_edit() -> None:
    async with Bench().shop() as bench:
        bench.world.errors = [TerminalError("cannot ensure thing 'a': too big")]
        await bench.box("a")
        await bench.settle(3600)
        assert bench.condition(A, "Stalled")["status"] == "True"
        assert not bench.ready(A)
        assert bench.world.calls["ensure"] == 2
        await bench.edit(A, size=3)
        await bench.settle()
        assert bench.ready(A)
        assert bench.condition(A, "Stalled")["status"] == "False"


@in_virtual_time
async def test_what_cannot_be_removed_is_tried_again_though_nobody_edits_it() -> None:
    async with Bench().shop("a") as bench:
        bench.world.errors.append(TerminalError("cannot remove it: access denied"))
        await bench.delete(A)
        await bench.settle(60)
        assert bench.condition(A, "Stalled")["status"] == "True"
        writes = bench.store.writes_to(A)
        bench.world.errors += [TerminalError("cannot remove it: access denied")] * 3
        await bench.settle(1500)
        assert bench.store.writes_to(A) == writes
        await bench.settle(3000)
        assert bench.find(A) is None


@in_virtual_time
async def test_bug_in_a_kind_is_survived() -> None:
    async with Bench().shop() as bench:
        bench.world.errors = [ZeroDivisionError()]
        await bench.box("a")
        await bench.settle(0.1)
        assert bench.condition(A, "Synced")["reason"] == "InternalError"
        await bench.settle(30)
        assert bench.ready(A)


@in_virtual_time
async def test_bad_stored_record_stalls_and_others_go_on() -> None:
    async with Bench().shop() as bench:
        await bench.box("bad", size="many")
        await bench.box("a")
        await bench.settle()
        assert bench.condition(box_key("bad"), "Stalled")["reason"] == "InvalidRecord"
        assert bench.ready(A)
        await bench.edit(box_key("bad"), size=1)
        await bench.settle()
        assert bench.ready(box_key("bad"))


@in_virtual_time
async def test_what_dies_each_time_is_backed_off() -> None:
    async with Bench().shop() as bench:
        bench.world.stillborn = True
        await bench.box("a")
        await bench.settle(3600)
        assert bench.condition(A, "Synced")["reason"] == "NoProgress"
        assert bench.world.calls["ensure"] < 60
        bench.world.stillborn = False
        await bench.settle(400)
        assert bench.ready(A)


@in_virtual_time
async def test_pass_that_takes_too_long_keeps_its_key_until_the_call_ends() -> None:
    async with Bench().shop() as bench:
        bench.world.slow = asyncio.Event()
        await bench.box("a", data="Delete")
        await bench.settle(5)
        bench.world.slow.clear()
        await bench.edit(A, size=2)
        await bench.settle(400)
        assert bench.term is not None
        assert [c.overdue for c in bench.term.controllers if c.overdue] != []
        calls = bench.world.calls["ensure"]
        await bench.settle(400)
        assert bench.world.calls["ensure"] == calls
        bench.world.slow.set()
        await bench.settle(60)
        assert bench.ready(A)
        assert bench.status(A)["size"] == 2


@in_virtual_time
async def test_driver_outage_costs_probes_not_a_pass_for_each_record() -> None:
    async with Bench().shop(*(f"b{i}" for i in range(50))) as bench:
        assert bench.term is not None
        bench.world.away = DriverUnavailableError("things", "cannot reach things: refused")
        await bench.wake()
        await bench.settle(30)
        calls = bench.world.calls["observe"]
        await bench.settle(600)
        assert bench.world.calls["observe"] - calls < 60
        assert "things" in bench.term.breakers.open
        synced = bench.condition(box_key("b7"), "Synced")
        assert synced["reason"] == "DriverUnavailable"
        assert bench.ready(box_key("b7"))
        bench.world.away = None
        await bench.wake()
        await bench.settle(10)
        assert not bench.term.breakers.open
        assert bench.condition(box_key("b7"), "Synced")["status"] == "True"


@in_virtual_time
async def test_store_outage_is_waited_out() -> None:
    async with Bench().shop("a") as bench:
        bench.store.away = True
        bench.break_thing(A)
        await bench.wake()
        await bench.settle(30)
        bench.store.away = False
        await bench.settle(60)
        assert bench.ready(A)
        assert bench.runs(A)


@in_virtual_time
async def test_stale_epoch_ends_the_term() -> None:
    async with Bench().shop() as bench:
        bench.store.epoch = 99
        await bench.box("a")
        await bench.settle()
        assert bench.leadership is not None
        assert bench.leadership.remaining_s == 0.0
        assert bench.world.calls["ensure"] == 1


@in_virtual_time
async def test_ports_are_allocated_told_and_exclusive() -> None:
    async with Bench().shop("a", publish=True) as bench:
        await bench.box("b", publish=True, port=30000)
        await bench.settle()
        assert bench.status(A)["allocation"]["ports"] == [30000]
        assert bench.condition(box_key("b"), "Admitted")["reason"] == "PortTaken"
        await bench.delete(A)
        await bench.settle(60)
        assert bench.ready(box_key("b"))
