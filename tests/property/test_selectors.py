"""Selectors: any text is an answer, what is written is what is read, and means what it says."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from hypothesis import given
from hypothesis import strategies as st

from api.errors import StatusError
from api.field_selectors import FieldTerm, parse_fields
from api.label_selectors import parse_labels
from resources.core import Event

Read = TypeVar("Read")
KEYS: Final = ("a", "b", "in", "notin", "example.com/a", "0", "x" * 63)
VALUES: Final = ("", "a", "b", "in", "notin", "0", "7", "007", "10", "9" * 19, "y_." + "z" * 60)
NUMBERS: Final = ("0", "7", "007", "10", str(2**63 - 1))
BLANK: Final = st.text(" \t\r\n", max_size=2)
GAP: Final = st.text(" \t\r\n", min_size=1, max_size=2)


@dataclass(frozen=True)
class Term:
    """A term as its author means it."""

    key: str
    sign: str
    values: tuple[str, ...] = ()

    def holds(self, labels: Mapping[str, str]) -> bool:
        have = labels.get(self.key)
        if self.sign in ("=", "==", "in"):
            return have in self.values
        if self.sign in ("!=", "notin"):
            return have not in self.values
        if self.sign in ("", "!"):
            return (have is None) == (self.sign == "!")
        if have is None or not have.isdecimal() or int(have) >= 2**63:
            return False
        bound = int(self.values[0])
        return int(have) > bound if self.sign == ">" else int(have) < bound


LABELS: Final = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES))
TERMS: Final = st.one_of(
    st.builds(Term, st.sampled_from(KEYS), st.sampled_from(["", "!"])),
    st.builds(
        Term,
        st.sampled_from(KEYS),
        st.sampled_from(["=", "==", "!="]),
        st.tuples(st.sampled_from(VALUES)),
    ),
    st.builds(
        Term,
        st.sampled_from(KEYS),
        st.sampled_from(["<", ">"]),
        st.tuples(st.sampled_from(NUMBERS)),
    ),
    st.builds(
        Term,
        st.sampled_from(KEYS),
        st.sampled_from(["in", "notin"]),
        # an empty value that is not the only one would have to be written beside a comma
        st.just(("",)) | st.lists(st.sampled_from(VALUES[1:]), min_size=1, max_size=4).map(tuple),
    ),
)


@st.composite
def _written(draw: st.DrawFn, term: Term) -> str:
    def blank() -> str:
        return draw(BLANK)

    if term.sign in ("", "!"):
        return blank() + term.sign + blank() + term.key + blank()
    if term.sign in ("in", "notin"):
        members = ",".join(blank() + value + blank() for value in term.values)
        return f"{blank()}{term.key}{draw(GAP)}{term.sign}{blank()}({members}){blank()}"
    return blank() + term.key + blank() + term.sign + blank() + term.values[0] + blank()


@given(st.lists(TERMS, max_size=4), st.lists(LABELS, min_size=1, max_size=8), st.data())
def test_a_label_selector_selects_what_its_terms_say(
    terms: list[Term], objects: list[dict[str, str]], data: st.DataObject
) -> None:
    text = ",".join(data.draw(_written(term)) for term in terms)
    found = parse_labels(text)
    assert [one.key for one in found] == [term.key for term in terms]
    assert [one.values for one in found] == [frozenset(term.values) for term in terms]
    for labels in objects:
        assert all(one.matches(labels) for one in found) == all(t.holds(labels) for t in terms)


NASTY: Final = st.text(max_size=30) | st.text("ab01-_./=!<>(), \t\n\0\\é\ud83d", max_size=30)
WORDS: Final = st.lists(
    st.sampled_from(["a", "in", "notin", "(", ")", ",", "!", "=", "==", "!=", "<", ">", "7", " "]),
    max_size=12,
).map(" ".join)


def _read(parse: Callable[..., Read], *args: Any) -> Read | StatusError:
    try:
        return parse(*args)
    except StatusError as exc:
        return exc


@given(NASTY | WORDS, LABELS)
def test_any_text_is_a_label_selector_or_a_bad_request(text: str, labels: dict[str, str]) -> None:
    found = _read(parse_labels, text)
    if isinstance(found, StatusError):
        assert (found.code, found.reason) == (400, "BadRequest")
        return
    # what was read is all there was: nothing but blanks is no requirement
    assert bool(found) == bool(text.strip(" \t\r\n"))
    assert text.count("(") == text.count(")")
    assert all(one.matches(labels) in (True, False) for one in found)


FIELDS: Final = ("metadata.name", "metadata.namespace", "type", "involvedObject.name")
FIELD_TERMS: Final = st.builds(
    FieldTerm,
    st.sampled_from(FIELDS),
    st.text(max_size=6) | st.text("a,=\\! ", max_size=6),
    st.booleans(),
)


def _escaped(value: str) -> str:
    return "".join(f"\\{char}" if char in "\\,=" else char for char in value)


@given(st.lists(FIELD_TERMS, max_size=4), st.data())
def test_a_field_selector_is_read_as_it_was_written(
    terms: list[FieldTerm], data: st.DataObject
) -> None:
    equal = st.sampled_from(["=", "=="])
    text = ",".join(
        term.field + (data.draw(equal) if term.equal else "!=") + _escaped(term.value)
        for term in terms
    )
    assert parse_fields(text, Event.info) == tuple(terms)


@given(FIELD_TERMS, st.text("a,=", max_size=2))
def test_a_field_term_compares_with_the_field(term: FieldTerm, have: str) -> None:
    obj: dict[str, Any] = {}
    inside = obj
    *way, last = term.field.split(".")
    for part in way:
        inside = inside.setdefault(part, {})
    inside[last] = have
    assert term.matches(obj) == ((have == term.value) == term.equal)


@given(
    NASTY
    | st.lists(st.sampled_from(["metadata.name", "type", "=", "!=", ",", "\\", "x"])).map("".join)
)
def test_any_text_is_a_field_selector_or_a_bad_request(text: str) -> None:
    found = _read(parse_fields, text, Event.info)
    if isinstance(found, StatusError):
        assert (found.code, found.reason) == (400, "BadRequest")
        return
    assert all(
        term.field in {"metadata.name", *FIELDS, *Event.info.selectable_fields} for term in found
    )
