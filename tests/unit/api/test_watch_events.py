"""What a change is to a watch with a selector."""

from typing import Any, Literal

import pytest

from api.selectors import Selector, of_query
from api.watch_events import transition
from controlplane.records import Change, Key, Stored
from controlplane.store.shape import encode
from resources.kinds import KIND_INFOS

INFO = KIND_INFOS["Database"]
RED = of_query({"labelSelector": "colour=red"}, INFO)
NAMED = of_query({"fieldSelector": "metadata.name=a"}, INFO)


def at(revision: int, colour: str, name: str = "a") -> Stored:
    meta = {"name": name, "namespace": "shop", "labels": {"colour": colour}}
    return Stored(
        Key("Database", "shop", name), "u", revision, 1, encode({"metadata": meta, "spec": {}})
    )


def change(
    verb: Literal["create", "update", "delete"], before: str | None, after: str, **kwargs: Any
) -> Change:
    return Change(2, verb, at(2, after, **kwargs), at(1, before, **kwargs) if before else None, {})


@pytest.mark.parametrize(
    ("found", "selector", "expected"),
    [
        pytest.param(change("create", None, "red"), RED, "ADDED", id="made matching"),
        pytest.param(change("create", None, "blue"), RED, None, id="made not matching"),
        pytest.param(change("update", "red", "red"), RED, "MODIFIED", id="stays"),
        pytest.param(change("update", "blue", "red"), RED, "ADDED", id="enters"),
        pytest.param(change("update", "red", "blue"), RED, "DELETED", id="leaves"),
        pytest.param(change("update", "blue", "blue"), RED, None, id="stays out"),
        pytest.param(change("delete", "red", "red"), RED, "DELETED", id="deleted"),
        pytest.param(change("delete", "blue", "blue"), RED, None, id="deleted outside"),
        pytest.param(change("delete", None, "red"), RED, "DELETED", id="before unknown"),
        pytest.param(change("update", "blue", "blue"), NAMED, "MODIFIED", id="by name"),
        pytest.param(change("update", "b", "b", name="x"), NAMED, None, id="another name"),
        pytest.param(change("create", None, "b"), Selector(), "ADDED", id="no selector"),
        pytest.param(change("update", "b", "b"), Selector(), "MODIFIED", id="no selector update"),
        pytest.param(change("delete", "b", "b"), Selector(), "DELETED", id="no selector delete"),
    ],
)
def test_transition(found: Change, selector: Selector, expected: str | None) -> None:
    event = transition(found, selector, None)
    assert (event[0] if event else None) == expected


def test_what_left_is_shown_as_it_was_at_the_revision_it_left() -> None:
    event = transition(change("update", "red", "blue"), RED, "shop")
    assert event is not None
    assert event[1].labels == {"colour": "red"}
    assert event[1].revision == 2


def test_labels_are_parsed_once_for_all_watchers() -> None:
    found = change("update", "red", "blue")
    assert transition(found, RED, None) is not None
    kept = dict(found.memo)
    assert kept == {"labels before": {"colour": "red"}, "labels": {"colour": "blue"}}
    assert transition(found, RED, None) is not None
    assert all(found.memo[key] is labels for key, labels in kept.items())


def test_other_namespaces_are_not_seen() -> None:
    assert transition(change("create", None, "red"), Selector(), "elsewhere") is None
