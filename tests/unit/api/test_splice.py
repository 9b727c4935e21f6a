"""Spliced bytes are what parsing and writing out again would give."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.splice import wire_bytes
from controlplane.records import Key, Stored
from controlplane.store.shape import decode, encode

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


def stored(obj: dict[str, Any], managed: bytes, revision: int = 7) -> Stored:
    return Stored(Key("Database", "a", "b"), "u", revision, 1, encode(obj), managed)


@given(spec=st.dictionaries(st.text(max_size=8), JSON), managed=st.booleans())
def test_splice_equals_parsing(spec: dict[str, Any], managed: bool) -> None:
    owned = b'[{"manager":"kubectl"}]' if managed else b"[]"
    one = stored({"apiVersion": "v1", "metadata": {"name": "b"}, "spec": spec}, owned)
    assert orjson.loads(wire_bytes(one)) == decode(one)


@pytest.mark.parametrize(
    "one",
    [
        pytest.param(stored({"kind": "A", "metadata": {"name": "b"}}, b"[]", 0), id="dry run"),
        pytest.param(
            Stored(Key("A", "", "b"), "u", 7, 1, b'{"kind":"A","metadata":{"name":"b"}}'),
            id="another order",
        ),
    ],
)
def test_what_cannot_be_spliced_is_parsed(one: Stored) -> None:
    assert orjson.loads(wire_bytes(one)) == decode(one)
