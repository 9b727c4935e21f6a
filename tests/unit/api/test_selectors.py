"""Label and field selectors."""

from typing import Any

import pytest

from api.errors import StatusError
from api.label_selectors import parse_labels
from api.selectors import of_query
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
        ("a>1", {"a": "2"}, {"a": "1"}),
        ("a>1", {"a": "0010"}, {"a": "b"}),
        ("a > 1,a < 3", {"a": "2"}, {"a": "3"}),
        ("a<9223372036854775807", {"a": "9223372036854775806"}, {}),
        ("a>1", {"a": "2"}, {"a": "9223372036854775808"}),
        ("a in ()", {"a": ""}, {}),
        ("a notin ( )", {"a": "b"}, {"a": ""}),
        ("a in (b,)", {"a": ""}, {"a": "c"}),
        ("a in (,b)", {"a": "b"}, {"a": "c"}),
        ("a in (b,,c)", {"a": ""}, {"a": "d"}),
        ("a=,b= ", {"a": "", "b": ""}, {"a": "c", "b": ""}),
        ("a\tin\r\n (in,notin)", {"a": "notin"}, {"a": "b"}),
        ("in in (in)", {"in": "in"}, {"in": "notin"}),
        ("!notin", {"in": ""}, {"notin": ""}),
        ("\ra ", {"a": ""}, {}),
    ],
)
def test_label_selectors(text: str, matching: dict[str, str], other: dict[str, str]) -> None:
    selector = of_query({"labelSelector": text}, Secret.info)
    assert selector.matches(_obj(**matching))
    assert not selector.matches(_obj(**other))


_LONG = "v" * 64


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a=b,", "found '', expected: identifier after ','"),
        ("a,,b", "found ',', expected: identifier after ','"),
        (",a", "found ',', expected: !, identifier, or 'end of string'"),
        ("=b", "found '=', expected: !, identifier, or 'end of string'"),
        ("(" * 5000, "found '(', expected: !, identifier, or 'end of string'"),
        ("a=b=c", "found '=', expected: ',' or 'end of string'"),
        ("!a=b", "found '=', expected: ',' or 'end of string'"),
        ("a in (b)c", "found 'c', expected: ',' or 'end of string'"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, >, <"),
        ("a=b||c=d", "a valid label must be an empty string or consist of alphanumeric"),
        ("a in", "unable to parse requirement: found '', expected: '('"),
        ("a in b", "unable to parse requirement: found 'b', expected: '('"),
        ("a in (", "found '', expected: ',', ')' or identifier"),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("a in (b c)", "unable to parse requirement: found 'c', expected: ',' or ')'"),
        ("a in (b,,)", "found ')', expected: ',', ')' or identifier"),
        ("a==>b", "unable to parse requirement: found '>', expected: identifier"),
        ("a>b", "values[0]: Invalid value: \"b\": for 'Gt', 'Lt' operators, the value must be"),
        ("a>", "values[0]: Invalid value: \"\": for 'Gt'"),
        ("a<-1", 'values[0][a]: Invalid value: "-1": a valid label'),
        ("a>9223372036854775808", "the value must be an integer"),
        ("a>" + "1" * 5000, "the value must be an integer"),
        ("-x-=b", 'unable to parse requirement: key: Invalid value: "-x-": name part must consist'),
        (f"a={_LONG}", "must be no more than 63 characters"),
        (f"a in (b,{_LONG})", "values[1][a]: Invalid value"),
        (f"{_LONG}=b", "name part must be no more than 63 characters"),
        ("/a", "prefix part must be non-empty"),
        ("A.com/a", "prefix part must be a DNS subdomain"),
        ("a/", "name part must be non-empty"),
        ("a/b/c", "a qualified name must consist"),
        ("\0", 'Invalid value: "\\u0000"'),
        ("a=é", "a valid label must be"),
    ],
)
def test_a_label_selector_that_cannot_be_read_is_a_bad_request(text: str, why: str) -> None:
    with pytest.raises(StatusError) as caught:
        parse_labels(text)
    assert (caught.value.code, caught.value.reason) == (400, "BadRequest")
    assert why in caught.value.message


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("metadata.name=x", True),
        ("metadata.name=x,metadata.namespace=ns", True),
        ("metadata.name!=x", False),
        ("type=Opaque", True),
        ("type==other", False),
        ("metadata.name==x,,metadata.namespace!=x", True),
        ("metadata.name=x ", False),
        (r"metadata.name=x\,y", False),
        (r"metadata.name!=x\=\\", True),
        ("", True),
        (",", True),
    ],
)
def test_field_selectors(text: str, matches: bool) -> None:
    assert of_query({"fieldSelector": text}, Secret.info).matches(_obj()) is matches


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("metadata.name", "can't understand 'metadata.name'"),
        (" ", "invalid selector: ' '; can't understand ' '"),
        ("metadata.name=x,y", "can't understand 'y'"),
        ("metadata.name in (x)", "can't understand 'metadata.name in (x)'"),
        ("metadata.name==x==y", "unescaped character in value: ="),
        (r"metadata.name=x\y", r"invalid escape sequence: \y"),
        ("metadata.name=x\\", "invalid escape sequence: \\"),
        ("metadata.name =x", "field label not supported: metadata.name ;"),
        ("=x", "field label not supported: ;"),
    ],
)
def test_a_field_selector_that_cannot_be_read_is_a_bad_request(text: str, why: str) -> None:
    with pytest.raises(StatusError) as caught:
        of_query({"fieldSelector": text}, Secret.info)
    assert (caught.value.code, caught.value.reason) == (400, "BadRequest")
    assert why in caught.value.message


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


def test_the_source_of_an_event_is_its_component_else_who_reports_it() -> None:
    for event in ({"source": {"component": "agent"}, "reportingComponent": "other"},
                  {"source": {}, "reportingComponent": "agent"}):  # fmt: skip
        for text, matches in (
            ("source=agent", True),
            ("source!=agent", False),
            ("source!=x", True),
        ):
            found = of_query({"fieldSelector": text}, Event.info)
            assert found.matches({"metadata": {"name": "e"}, **event}) is matches
