"""Bodies: what is told to be plain by its bytes is nothing that a walk over it would refuse."""

import contextlib
import json

from hypothesis import given
from hypothesis import strategies as st

from api import body, errors

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**65), 2**65)
    | st.floats()
    | st.text(st.sampled_from('aZ0é\0\x1f"\\{[eE\ud800\U0001f600'), max_size=8)
)
KEYS = st.text(st.sampled_from("ab\0é\ud800{"), max_size=3)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(VALUES, st.integers(0, 40), st.booleans())
def test_what_is_plain_by_its_bytes_would_be_accepted(
    value: object, nested: int, ascii_only: bool
) -> None:
    for _ in range(nested):
        value = {"a": value}
    text = json.dumps(value, ensure_ascii=ascii_only)
    raw = text.encode("utf-8", "surrogatepass")
    try:
        read = body._JSON.decode(text)
    except (ValueError, RecursionError, errors.StatusError):
        return  # refused before it would be walked
    if body._is_plain(raw):
        body.check(read)


@given(st.from_regex(rb"-?[0-9]{1,25}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,4})?", fullmatch=True))
def test_a_number_that_is_plain_is_finite_and_fits(raw: bytes) -> None:
    with contextlib.suppress(ValueError):
        value = body._JSON.decode(raw.decode())
        if body._is_plain(raw):
            body.check(value)
