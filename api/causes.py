"""Why isn't it ready: a record's conditions, and those of what it waits for, as a chain.

Pure over a function that fetches records. Conditions already say what is wrong and what to do;
this follows references so that the last line is the cause and not a symptom.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from resources.kinds import KIND_INFOS

Obj = Mapping[str, Any]
Fetch = Callable[[str, str], Obj | None]
"""(kind, name) -> the record in the caller's namespace, or None."""

_MAX_DEPTH: Final = 8
_BAD: Final = (("Stalled", "True"), ("Admitted", "False"), ("Synced", "False"), ("Ready", "False"))
"""The condition that says most comes first: why work failed, before what is missing for it."""
_AT_WORK: Final = "Progressing"
"""Why a record whose work goes well isn't Synced: says less than what it isn't Ready for."""


def chain(kind: str, name: str, fetch: Fetch) -> list[str]:
    """One line a record, from the one asked about to the cause."""
    return list(_follow(kind, name, fetch, (), 0))


def _follow(
    kind: str, name: str, fetch: Fetch, seen: tuple[tuple[str, str], ...], depth: int
) -> Iterator[str]:
    head = "  " * depth + ("<- " if depth else "")
    obj = fetch(kind, name)
    if obj is None:
        yield f"{head}{kind} {name}: does not exist; create it or mend the reference"
        return
    kind = str(obj["kind"])
    yield f"{head}{kind} {name}: {state(obj)}"
    if ready(obj) or depth >= _MAX_DEPTH or (kind, name) in seen:
        return
    for wanted, other in references(obj):
        found = fetch(wanted, other)
        if found is None or not ready(found):
            yield from _follow(wanted, other, fetch, (*seen, (kind, name)), depth + 1)


def ready(obj: Obj) -> bool:
    """It serves, or it is plain data, of which there is nothing to wait for."""
    conditions = _conditions(obj)
    info = KIND_INFOS.get(str(obj["kind"]))
    if not conditions:
        return info is not None and not info.reconciled
    return conditions.get("Ready", {}).get("status") == "True"


def state(obj: Obj) -> str:
    """In a line, what the conditions say."""
    if obj["metadata"].get("deletionTimestamp"):
        held = ", ".join(obj["metadata"].get("finalizers") or ())
        return f"is being deleted, held by {held}" if held else "is being deleted"
    if ready(obj):
        synced = _conditions(obj).get("Synced", {})
        if synced.get("status") == "False" and synced.get("reason") != _AT_WORK:
            return f"ready as it was before; {synced.get('reason')}: {synced.get('message')}"
        return "ready"
    if (obj.get("spec") or {}).get("paused"):
        return "paused; set spec.paused to false to have it run"
    conditions = _conditions(obj)
    for type_, bad in _BAD:
        found = conditions.get(type_)
        if found is None or found.get("reason") == _AT_WORK:
            continue
        if found.get("status") == bad:
            return f"{found.get('reason', type_)}: {found.get('message') or 'no message'}"
    return "no reconciler has looked at it yet"


def references(obj: Obj) -> list[tuple[str, str]]:
    """(kind, name) of every reference in the spec, by the kind's declared paths."""
    info = KIND_INFOS.get(str(obj["kind"]))
    found = []
    for path, kind in info.refs if info is not None else ():
        for value in _at(obj, path):
            if isinstance(value, Mapping) and isinstance(value.get("name"), str):
                found.append((kind, value["name"]))
    return found


def _at(obj: Obj, path: str) -> Sequence[Any]:
    """Values at a dotted path; one that ends in `[]` is a list."""
    value: Any = obj
    for part in path.removesuffix("[]").split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if path.endswith("[]"):
        return value if isinstance(value, list) else ()
    return () if value is None else (value,)


def _conditions(obj: Obj) -> dict[str, Mapping[str, Any]]:
    listed = (obj.get("status") or {}).get("conditions") or ()
    return {str(condition["type"]): condition for condition in listed}
