"""Label selectors, `a=b,c!=d,e in (f,g),!h,i,j>1`, read as Kubernetes reads them. Pure.

Tokens, grammar, rules and messages are those of k8s.io/apimachinery/pkg/labels/selector.go, with
its corners: `a=` and `a in ()` ask for the empty value, `in` and `notin` may be keys and values.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from api import errors
from api.qualified import key_problem, value_problem

Operator = Literal["in", "notin", "exists", "absent", "gt", "lt"]

_TOKEN: Final = re.compile(r"[ \t\r\n]*(==|!=|[=!(),<>]|[^=!(),<> \t\r\n]+|\Z)")
_SYMBOLS: Final = frozenset({"==", "!=", "=", "!", "(", ")", ",", "<", ">", ""})
"""Tokens that are no identifier; the empty one is the end."""
_OPERATORS: Final[Mapping[str, Operator]] = {
    "in": "in",
    "notin": "notin",
    "=": "in",
    "==": "in",
    "!=": "notin",
    ">": "gt",
    "<": "lt",
}
_SETS: Final = ("in", "notin")
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,63}")
_MAX_SHOWN_CHARS: Final = 80


@dataclass(frozen=True, slots=True)
class Requirement:
    """One term of a label selector."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()
    bound: int = 0
    """What gt and lt compare with."""

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "in":
                return value is not None and value in self.values
            case "notin":
                return value is None or value not in self.values
            case "exists" | "absent":
                return (value is not None) is (self.operator == "exists")
            case "gt" | "lt":
                number = None if value is None else _int64(value)
                if number is None:
                    return False
                return number > self.bound if self.operator == "gt" else number < self.bound


def parse_labels(text: str | None) -> tuple[Requirement, ...]:
    """All of them must match; none match everything. Raises StatusError 400."""
    parser = _Parser(_TOKEN.findall(text or ""))
    try:
        return tuple(parser.requirements())
    except _SyntaxError as exc:
        raise errors.bad_request(str(exc)) from exc


class _SyntaxError(Exception):
    """What was found, and what was expected."""


def _expected(found: str, what: str) -> _SyntaxError:
    return _SyntaxError(f"found '{found[:_MAX_SHOWN_CHARS]}', expected: {what}")


class _Parser:
    """Walks over the tokens of one selector."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._at = 0

    def _next(self) -> str:
        """The next token; the end stays the end."""
        token = self._peek()
        self._at += 1
        return token

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def requirements(self) -> list[Requirement]:
        found: list[Requirement] = []
        token = self._peek()
        if token in _SYMBOLS and token not in ("!", ""):
            raise _expected(token, "!, identifier, or 'end of string'")
        while self._peek():
            try:
                found.append(self._requirement())
            except _SyntaxError as exc:
                raise _SyntaxError(f"unable to parse requirement: {exc}") from exc
            token = self._next()
            if token not in (",", ""):
                raise _expected(token, "',' or 'end of string'")
            follows = self._peek()
            if token and follows in _SYMBOLS and follows != "!":
                raise _expected(follows, "identifier after ','")
        return found

    def _requirement(self) -> Requirement:
        absent = self._peek() == "!"
        if absent:
            self._next()
        key = self._next()
        if key in _SYMBOLS:
            raise _expected(key, "identifier")
        if problem := key_problem(key):
            raise _invalid("key", key, problem)
        if absent:
            return Requirement(key, "absent")
        if self._peek() in (",", ""):
            return Requirement(key, "exists")
        token = self._next()
        operator = _OPERATORS.get(token)
        if operator is None:
            raise _expected(token, "in, notin, =, ==, !=, >, <")
        values = self._set() if token in _SETS else frozenset({self._exact()})
        return _checked(key, operator, values)

    def _exact(self) -> str:
        if self._peek() in (",", ""):
            return ""
        value = self._next()
        if value in _SYMBOLS:
            raise _expected(value, "identifier")
        return value

    def _set(self) -> frozenset[str]:
        """`(x,y)`: where nothing stands before or after a comma, it is the empty value."""
        if (token := self._next()) != "(":
            raise _expected(token, "'('")
        if self._peek() == ")":
            self._next()
            return frozenset({""})
        found: set[str] = set()
        while not self._member(found):
            pass
        self._next()
        return frozenset(found)

    def _member(self, found: set[str]) -> bool:
        """Take one; whether it was the last."""
        item = self._next()
        if item not in _SYMBOLS:
            found.add(item)
            if (follows := self._peek()) not in (",", ")"):
                raise _expected(follows, "',' or ')'")
            return follows == ")"
        if item != ",":
            raise _expected(item, "',', ')' or identifier")
        follows = self._peek()
        if not found or follows in (",", ")"):
            found.add("")
        if follows == ",":
            self._next()
        return follows == ")"


def _checked(key: str, operator: Operator, values: frozenset[str]) -> Requirement:
    """Raises _SyntaxError for values that no label can have, or that are no number."""
    for index, value in enumerate(sorted(values)):
        if operator in ("gt", "lt"):
            number = _int64(value)
            if number is None:
                why = "for 'Gt', 'Lt' operators, the value must be an integer"
                raise _invalid(f"values[{index}]", value, why)
        if problem := value_problem(value):
            raise _invalid(f"values[{index}][{key}]", value, problem)
    bound = _int64(next(iter(values))) if operator in ("gt", "lt") else 0
    return Requirement(key, operator, values, bound or 0)


def _int64(text: str) -> int | None:
    """As Go's strconv.ParseInt: ASCII digits, 64 bits."""
    if not _INTEGER.fullmatch(text):
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None


def _invalid(field: str, value: str, why: str) -> _SyntaxError:
    shown = value if len(value) <= _MAX_SHOWN_CHARS else value[:_MAX_SHOWN_CHARS] + "…"
    return _SyntaxError(f"{field}: Invalid value: {json.dumps(shown)}: {why}")
