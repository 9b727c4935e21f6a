"""Label and field selectors."""

from typing import Any

import pytest

from api.errors import StatusError
from api.selectors import of_query, parse_labels
from resources.core import Event, Namespace, Secret


def _obj(**labels: str) -> dict[str, Any]:
    return {"metadata": {"name": "x", "namespace": "ns", "labels": labels}, "type": "Opaque"}


@pytest.mark.parametrize(
    ("text", "matching", "other"),
    [
        ("a=b", {"a": "b"}, {"a": "c"}),
        ("a==b", {"a": "b"}, {}),
        ("a!=b", {}, {"a": "b"}),
        ("a in (b,c)", {"a": "c"}, {"a": "d"}),
        ("a in (b, c),d", {"a": "b", "d": ""}, {"a": "b"}),
        ("a notin (b)", {}, {"a": "b"}),
        ("a,a notin (b)", {"a": "c"}, {}),
        ("a", {"a": ""}, {}),
        ("!a", {"b": "x"}, {"a": ""}),
        ("a=", {"a": ""}, {"a": "b"}),
        (" a = b , c ", {"a": "b", "c": "d"}, {"a": "b"}),
        ("example.com/a=b", {"example.com/a": "b"}, {"a": "b"}),
    ],
)
def test_label_selectors(text: str, matching: dict[str, str], other: dict[str, str]) -> None:
    selector = of_query({"labelSelector": text}, Secret.info)
    assert selector.matches(_obj(**matching))
    assert not selector.matches(_obj(**other))


@pytest.mark.parametrize(
    "text", ["a in b", "a in (", "a>1", "=b", "a=b=c", ",a", "a b", "!", "(" * 5000]
)
def test_a_label_selector_that_cannot_be_read_is_a_bad_request(text: str) -> None:
    with pytest.raises(StatusError) as caught:
        parse_labels(text)
    assert caught.value.code == 400


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("metadata.name=x", True),
        ("metadata.name=x,metadata.namespace=ns", True),
        ("metadata.name!=x", False),
        ("type=Opaque", True),
        ("type==other", False),
        ("", True),
    ],
)
def test_field_selectors(text: str, matches: bool) -> None:
    assert of_query({"fieldSelector": text}, Secret.info).matches(_obj()) is matches


def test_a_field_that_is_not_declared_is_a_bad_request() -> None:
    with pytest.raises(StatusError, match=r"field label not supported: spec\.nope"):
        of_query({"fieldSelector": "spec.nope=1"}, Secret.info)
    with pytest.raises(StatusError, match=r"metadata\.namespace"):
        of_query({"fieldSelector": "metadata.namespace=x"}, Namespace.info)


def test_events_are_selected_by_what_they_are_about() -> None:
    selector = of_query(
        {"fieldSelector": "type=Normal,involvedObject.name=x,involvedObject.kind=App"}, Event.info
    )
    event = {"metadata": {"name": "e"}, "type": "Normal"}
    assert selector.matches({**event, "involvedObject": {"name": "x", "kind": "App"}})
    assert not selector.matches({**event, "involvedObject": {"name": "y", "kind": "App"}})
