"""The part of JSONPath that printer columns use: fields, indexes, `[*]` and equality filters.

`.spec.engine`, `.status.conditions[?(@.type=="Ready")].status`, `.spec.ports[0].port`,
`.metadata.labels['app.kubernetes.io/name']`. Not kubectl's template language: no ranges, no
recursive descent, no arithmetic. Columns come from our own kinds, so a bad path is a bug and
raises when it is first compiled.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

_TOKEN: Final = re.compile(
    r"""\.(?P<field>[A-Za-z_][\w-]*)
      | \[(?P<index>-?\d+)\]
      | \[(?P<all>\*)\]
      | \[(?P<quote>['"])(?P<key>.*?)(?P=quote)\]
      | \[\?\(@(?P<path>(?:\.[A-Za-z_][\w-]*)+)\s*(?P<op>==|!=)\s*
        (?P<q2>['"])(?P<value>.*?)(?P=q2)\)\]
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class _Filter:
    path: tuple[str, ...]
    value: str
    equal: bool


_Step = str | int | None | _Filter
"""A field name, an index, None for every item, or a filter."""


@lru_cache(maxsize=1024)
def _compile(path: str) -> tuple[_Step, ...]:
    text = path.removeprefix("{").removesuffix("}").removeprefix("$")
    steps: list[_Step] = []
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise ValueError(f"cannot read JSONPath {path!r} from {text[at:]!r} on")
        steps.append(_step(found))
        at = found.end()
    return tuple(steps)


def _step(found: re.Match[str]) -> _Step:
    if found["field"] is not None:
        return found["field"]
    if found["index"] is not None:
        return int(found["index"])
    if found["all"] is not None:
        return None
    if found["key"] is not None:
        return found["key"]
    return _Filter(tuple(found["path"].split(".")[1:]), found["value"], found["op"] == "==")


def find(path: str, obj: object) -> list[Any]:
    """Every value that `path` leads to in `obj`; none is an empty list, never an error.

    Raises ValueError for a path this module cannot read.
    """
    values: list[Any] = [obj]
    for step in _compile(path):
        values = [found for value in values for found in _take(step, value)]
    return values


def first(path: str, obj: object) -> Any:
    """The first value that `path` leads to, or None."""
    found = find(path, obj)
    return found[0] if found else None


def _take(step: _Step, value: Any) -> list[Any]:
    if isinstance(step, str):
        return [value[step]] if isinstance(value, Mapping) and step in value else []
    if step is None and isinstance(value, Mapping):
        return list(value.values())
    if not isinstance(value, Sequence) or isinstance(value, str):
        return []
    if step is None:
        return list(value)
    if isinstance(step, int):
        return [value[step]] if -len(value) <= step < len(value) else []
    return [item for item in value if _matches(step, item)]


def _matches(condition: _Filter, item: Any) -> bool:
    for name in condition.path:
        if not isinstance(item, Mapping) or name not in item:
            return False
        item = item[name]
    return (str(item) == condition.value) is condition.equal
