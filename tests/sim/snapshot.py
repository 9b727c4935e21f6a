"""What the world and the store come to, in words that two runs share.

Uids, ids, hashes, addresses and generated values differ from run to run; who owns what, what
exists, and what it is like may not. Counters and faults of fakes are no state.
"""

import base64
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, Final

from drivers.containers import ContainerSpec
from resources.kinds import KIND_INFOS
from tests.support.platform import Platform

NO_STATE: Final = frozenset(
    {"writes", "calls", "faults", "crashing", "routes", "starts", "passwords", "heals", "images",
     "info", "usage", "values", "clock", "meter", "probe", "started_at", "finished_at", "exit_code",
     "restart_count", "serial", "keys_made", "pulls"}
)  # fmt: skip
"""Attributes of fakes that tell how it came about, not what it is."""
GONE: Final = "gone"
"""Begins the name of a record that was deleted: what is owned by it outside is an orphan."""
IN_PLACE: Final = frozenset({"limits", "networks", "name", "notes"})
"""What a container was made with and may have been given otherwise since: its state tells. Notes
say what it was made for, and stay."""
_SCRUB: Final = (
    # a link to an object says when it was made, and when it ends
    (re.compile(r"X-Amz-[^\"]*"), "<signed>"),
    (re.compile(r"[0-9a-f]{64}"), "<id>"),
    (re.compile(r"\bv\d+:[0-9a-f]{16,64}\b|\b[0-9a-f]{16,63}\b"), "<hash>"),
    (re.compile(r"\$2[aby]\$\d+\$[./A-Za-z0-9]{53}"), "<hash>"),
    (re.compile(r"hmac:[^\"]*"), "<hash>"),
    (re.compile(r"MII[A-Za-z0-9+/]{200,}=*"), "<public key>"),
    (re.compile(r"\b10\.\d+\.\d+\.\d+(/\d+)?"), "<address>"),
    (re.compile(r'"serial": \d+'), '"serial": 0'),
    # a server counts what is in its buckets and mailboxes when it has time to
    (re.compile(r'"used": "\w+"'), '"used": ""'),
    (re.compile(r'"bunker.cloud/epoch": "\d+"'), '"epoch": ""'),
    (re.compile(r'"bunker.cloud/reach": "(?:[^"\\]|\\.)*"'), '"reach": ""'),
)
_SEEN_WHEN: Final = ("lastTransitionTime", "observedGeneration", "message")


def world_of(platform: Platform) -> str:
    """Everything that the fakes hold, as sorted text."""
    drivers = platform.drivers
    seen: set[int] = set()
    tree = {
        each.name: _tree(getattr(drivers, each.name), seen)
        for each in fields(drivers)
        if each.name not in NO_STATE
    }
    return scrubbed(platform, json.dumps(tree, sort_keys=True, indent=1, default=str))


def records_of(platform: Platform) -> str:
    """Every record but events: what it says, without when."""
    found = {
        str(stored.key): _record(dict(stored.obj))
        for kind in KIND_INFOS
        if kind != "Event"
        for stored in platform.store.cache.list(kind)
    }
    return scrubbed(platform, json.dumps(found, sort_keys=True, indent=1))


def objects_of(platform: Platform) -> frozenset[str]:
    """Identities of all things outside: where they are and their key there."""
    drivers = platform.drivers
    found: set[str] = set()
    seen: set[int] = set()
    for each in fields(drivers):
        if each.name not in NO_STATE:
            found |= set(_things(each.name, getattr(drivers, each.name), seen))
    return frozenset(found)


def tally(before: frozenset[str], after: frozenset[str]) -> Counter[str]:
    """How many of each sort came and went."""
    found: Counter[str] = Counter()
    for verb, things in (("made", after - before), ("removed", before - after)):
        for thing in things:
            found[f"{verb} {thing.partition('[')[0]}"] += 1
    return found


def _things(path: str, value: Any, seen: set[int]) -> Iterator[str]:
    if id(value) in seen or not _is_fake(value):
        return
    seen.add(id(value))
    for name, held in _attributes(value):
        if isinstance(held, dict | set | frozenset):
            yield from (f"{path}.{name}[{key}" for key in held)
        else:
            yield from _things(f"{path}.{name}", held, seen)


def _is_fake(value: Any) -> bool:
    return type(value).__module__.startswith(("drivers.fake", "tests."))


def _attributes(value: Any) -> list[tuple[str, Any]]:
    names = [each.name for each in fields(value)] if is_dataclass(value) else list(vars(value))
    return [
        (name, getattr(value, name))
        for name in names
        if not (name.startswith("_") or name in NO_STATE)
        and not (isinstance(value, ContainerSpec) and name in IN_PLACE)
    ]


def _tree(value: Any, seen: set[int]) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    if value is None or isinstance(value, str | int | float | Enum):
        return value
    if isinstance(value, Mapping):
        return _mapping(value, seen)
    if isinstance(value, list | tuple):
        return [_tree(each, seen) for each in value]
    if isinstance(value, set | frozenset):
        return sorted(str(_tree(each, seen)) for each in value)
    return _object(value, seen)


def _object(value: Any, seen: set[int]) -> Any:
    if id(value) in seen or not (is_dataclass(value) or _is_fake(value)):
        return type(value).__name__
    if _is_fake(value):
        seen.add(id(value))
    return {name: _tree(held, seen) for name, held in _attributes(value)}


def _mapping(value: Mapping[Any, Any], seen: set[int]) -> Any:
    plain = {str(key): _tree(each, seen) for key, each in value.items()}
    if any(re.fullmatch("[0-9a-f]{64}", key) for key in plain):
        return {"<by id>": list(plain.values())}
    return plain


def _in_order(value: Any) -> Any:
    """What stood under ids, in the order of its content once that says the same in every run."""
    if isinstance(value, list):
        return [_in_order(each) for each in value]
    if not isinstance(value, dict):
        return value
    plain = {key: _in_order(each) for key, each in value.items()}
    if "<by id>" in plain:
        plain["<by id>"].sort(key=lambda each: json.dumps(each, sort_keys=True))
    return plain


def _record(obj: dict[str, Any]) -> dict[str, Any]:
    meta = obj["metadata"]
    status = dict(obj.get("status") or {})
    status["conditions"] = sorted(
        [c["type"], c["status"], c["reason"]] for c in status.get("conditions") or ()
    )
    seen = status.pop("observedGeneration", None)
    status.pop("serial", None)  # of a DNS zone: how often it has changed
    return {
        "labels": meta.get("labels") or {},
        "finalizers": sorted(meta.get("finalizers") or ()),
        "owners": sorted(ref["uid"] for ref in meta.get("ownerReferences") or ()),
        "deleting": "deletionTimestamp" in meta,
        "spec": obj.get("spec") or {},
        "keys": sorted(obj.get("secretKeys") or obj.get("data") or ()),
        "status": status,
        "behind": seen is not None and seen != meta.get("generation"),
    }


def scrubbed(platform: Platform, text: str) -> str:
    """JSON text with names in place of what differs from run to run."""
    for word, alias in platform.aliases.items():
        # a number only as such: a port's may be in a hash or a uid
        if word.isdigit():
            text = re.sub(rf"(?<![0-9a-f]){word}(?![0-9a-f])", alias, text)
        else:
            text = text.replace(word, alias)
    for name, value in sorted(_secrets(platform).items(), key=lambda pair: -len(pair[1])):
        text = text.replace(json.dumps(value)[1:-1], f"<{name}>")
    names = _names(platform)
    # names of children carry uids of their owners: those first, so that every run says the same
    plain = {uid[:8]: f"<{name.split()[0]}>" for uid, name in names.items()}
    for uid, name in names.items():
        for short, word in plain.items():
            name = name.replace(short, word)
        text = text.replace(uid, f"<uid of {name}>").replace(uid[:8], f"<{name}>")
    for pattern, word in _SCRUB:
        text = pattern.sub(word, text)
    return json.dumps(_in_order(json.loads(text)), sort_keys=True, indent=1)


def _names(platform: Platform) -> dict[str, str]:
    """What to call each record that there is or was, by uid."""
    made = {w.uid: w.key for w in platform.store.writes if w.verb == "create"}
    live = {s.uid for kind in KIND_INFOS for s in platform.store.cache.list(kind)}
    kept = {uid: key for uid, key in made.items() if key.kind != "Event"}
    return {uid: str(key) if uid in live else f"{GONE} {key}" for uid, key in kept.items()}


def _secrets(platform: Platform) -> dict[str, str]:
    """Generated values, so long that nothing else is equal to them."""
    found: dict[str, str] = {}
    for stored in platform.store.cache.list("Secret"):
        blob = stored.obj.get("data")
        del blob
        for key, value in opened(stored.obj).items():
            if len(value) >= 16:
                found[f"{stored.key} {key}"] = value
    return found


def opened(obj: Mapping[str, Any]) -> dict[str, str]:
    """tests.support.memory.PlainSealer turns the text around, and nothing else."""
    sealed = obj.get("sealed")
    if not isinstance(sealed, str):
        return {}
    plain = json.loads(base64.b64decode(sealed)[::-1])
    return {
        key: base64.b64decode(value).decode(errors="replace")
        for key, value in (plain.get("data") or {}).items()
    }
