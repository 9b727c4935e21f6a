"""Request bodies: what is refused, in words, and before much is done."""

from typing import Any

import pytest

from api.body import MAX_DEPTH, parse_json, parse_yaml
from api.errors import StatusError
from tests.support.costs import python_calls

MOST_CALLS = 500
"""Of Python functions before a refusal, however long the body: 40 nested lists take some 150."""


def _refusal(raw: bytes, parse: Any) -> str:
    with pytest.raises(StatusError) as caught, python_calls(most=MOST_CALLS):
        parse(raw)
    assert caught.value.code == 400
    return caught.value.message


def _tags(end: str) -> str:
    """A document after twenty tags that it doesn't use."""
    return "".join(f"%TAG !{number}! x{end}" for number in range(20)) + "--- {a: 1}\n"


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        pytest.param(b'{"a":1,"a":2}', "duplicate key 'a'", id="duplicate key"),
        pytest.param(b'{"a":NaN}', "NaN", id="NaN"),
        pytest.param(b'{"a":-Infinity}', "Infinity", id="infinity"),
        pytest.param(b'{"a":1e999}', "a: the number is not finite", id="overflowing float"),
        pytest.param(b'{"a":[1,99999999999999999999]}', "a[1]: ", id="beyond 64 bits"),
        pytest.param(b'{"a":"\\ud800"}', "surrogate", id="half a surrogate pair"),
        pytest.param(b'{"a":"x\\u0000"}', "NUL", id="NUL in text"),
        pytest.param(b'{"x\\u0000":1}', "NUL", id="NUL in a key"),
        pytest.param(b'{"a":', "line 1", id="cut off"),
        pytest.param(b'{"a":"\xff"}', "UTF-8", id="not UTF-8"),
        pytest.param(b"[" * 40 + b"]" * 40, "deeper", id="nested a little too deep"),
        pytest.param(b"[" * 500_000, "", id="half a million brackets"),
        pytest.param(b'{"a":' * 100_000, "", id="deep objects"),
    ],
)
def test_json_refuses(raw: bytes, told: str) -> None:
    assert told in _refusal(raw, parse_json)


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        pytest.param(b"a: 1\na: 2\n", "duplicate key 'a' (line 2)", id="duplicate key"),
        pytest.param(b"a: &x 1\nb: *x\n", "anchors and aliases", id="alias"),
        pytest.param(b"a: .nan\n", ".nan is not a number", id="NaN"),
        pytest.param(b"a: -.inf\n", "-.inf is not a number", id="infinity"),
        pytest.param(b"a: 1e999\n", "not finite", id="overflowing float"),
        pytest.param(b"a: !!python/object:os.system x\n", "tags", id="tag"),
        pytest.param(_tags("\n").encode(), "%TAG", id="many directives"),
        pytest.param(_tags("\r").encode(), "%TAG", id="many directives, old line ends"),
        pytest.param(_tags("\u2028").encode(), "%TAG", id="many directives, newer line ends"),
        pytest.param(_tags("\n").encode("utf-16"), "%TAG", id="many directives in UTF-16"),
        pytest.param(b"a: 1\n...\n" + _tags("\n").encode(), "%TAG", id="many directives later"),
        pytest.param(b"<<: {a: 1}\n", "merge keys", id="merge key"),
        pytest.param(b"a: 1\n---\nb: 2\n", "several documents", id="two documents"),
        pytest.param(b"? [a, b]\n: 1\n", "a key must be text", id="list as key"),
        pytest.param(b"a: [1\n", "not YAML", id="cut off"),
        pytest.param(b"a: 99999999999999999999\n", "64 bits", id="beyond 64 bits"),
        pytest.param(b"a: " + b"9" * 500_000, "64 bits", id="half a million digits"),
        pytest.param(b"[" * 500_000, "", id="half a million brackets"),
        pytest.param(b"a: \xff\n", "not YAML", id="not UTF-8"),
    ],
)
def test_yaml_refuses(raw: bytes, told: str) -> None:
    assert told in _refusal(raw, parse_yaml)


def test_an_alias_bomb_is_refused_at_its_first_anchor() -> None:
    bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
    )
    assert "line 1" in _refusal(bomb.encode(), parse_yaml)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1", {"a": 1}),
        ("a: -0x1f", {"a": -31}),
        ("a: 0o17", {"a": 15}),
        ("a: 1.5", {"a": 1.5}),
        ("a: '1'", {"a": "1"}),
        ("a: yes", {"a": "yes"}),
        ("a: true", {"a": True}),
        ("a: ~", {"a": None}),
        ("a:", {"a": None}),
        ("a: 2026-01-01", {"a": "2026-01-01"}),
        ("a: 12:30", {"a": "12:30"}),
        ("a: |\n  x\n  y\n", {"a": "x\ny\n"}),
        ("1: x", {"1": "x"}),
        ("- a\n- b: [c, {d: e}]", ["a", {"b": ["c", {"d": "e"}]}]),
        ('{"a": {"b": [1, "2", null]}}', {"a": {"b": [1, "2", None]}}),
        ("", None),
    ],
)
def test_yaml_reads_the_core_schema(text: str, value: Any) -> None:
    assert parse_yaml(text.encode()) == value


def test_the_deepest_allowed_is_read() -> None:
    raw = b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH
    assert parse_json(raw) == parse_yaml(raw)
