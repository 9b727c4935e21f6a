"""Snapshots of paged lists: bounded in number and in age."""

from api.paging import Snapshot, Snapshots


def _snapshot(until: float, reader: str = "ann") -> Snapshot:
    return Snapshot(("ConfigMap", "", "", ""), 1, (), until, reader)


def test_a_snapshot_is_found_until_its_time_is_over() -> None:
    snapshots = Snapshots()
    token = snapshots.keep(_snapshot(10.0))
    assert snapshots.find(token, 10.0) is not None
    assert snapshots.find(token, 10.1) is None
    assert snapshots.find("another", 0.0) is None


def test_what_nobody_asks_for_any_more_is_let_go() -> None:
    snapshots = Snapshots()
    *_, last = [snapshots.keep(_snapshot(until)) for until in (10.0, 20.0, 30.0)]
    snapshots.let_go(25.0)
    assert len(snapshots) == 1
    assert snapshots.find(last, 25.0) is not None


def test_the_oldest_gives_way_to_the_newest() -> None:
    snapshots = Snapshots()
    first, *_, last = [snapshots.keep(_snapshot(10.0 + n)) for n in range(65)]
    assert len(snapshots) == 64
    assert snapshots.find(first, 0.0) is None
    assert snapshots.find(last, 0.0) is not None


def test_nobody_ends_the_lists_of_another() -> None:
    snapshots = Snapshots()
    anns = [snapshots.keep(_snapshot(10.0)) for _ in range(3)]
    bobs = [snapshots.keep(_snapshot(10.0, "bob")) for _ in range(100)]
    assert len(snapshots) == 64
    assert all(snapshots.find(each, 0.0) for each in (*anns, *bobs[-61:]))
    assert snapshots.find(bobs[-62], 0.0) is None
