"""Request bodies: read within bounds, then JSON, YAML or protobuf into plain JSON values.

Strict before anything is walked: size, time, nesting, no anchors or aliases, no duplicate keys,
no NaN or infinity, nothing that is not Unicode. A refusal is a Status that says where and why.
"""

import asyncio
import codecs
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import islice
from typing import Any, Final

import orjson
import yaml

from api import errors
from api.context import Call
from api.protobuf import ProtobufError, UnsupportedProtobufError, decode_protobuf
from api.slow import in_turns

MAX_DEPTH: Final = 32

JSON: Final = "application/json"
YAML: Final = "application/yaml"
PROTOBUF: Final = "application/vnd.kubernetes.protobuf"
_ALIASES: Final = {"application/x-yaml": YAML, "text/yaml": YAML, "text/x-yaml": YAML}


async def read(call: Call) -> bytes:
    """The raw body. Raises StatusError 413 or 408."""
    limits = call.ctx.limits
    announced = call.request.content_length
    if announced is not None and announced > limits.body_bytes:
        raise errors.too_large(limits.body_bytes)
    try:
        if call.request.content.is_eof():
            # it came with the headers: nothing to wait for
            raw = await call.request.read()
        else:
            async with asyncio.timeout(limits.body_timeout_s):
                raw = await call.request.read()
    except TimeoutError as exc:
        raise errors.StatusError(
            408, "Timeout", f"the body did not arrive within {limits.body_timeout_s:g} s"
        ) from exc
    call.body_bytes = len(raw)
    return raw


def media_type(call: Call) -> str:
    """The body's media type; nothing said means JSON."""
    header: str = call.request.headers.get("Content-Type", JSON)
    # errors repeat it, and bytes that are not UTF-8 come as half surrogate pairs
    header = header.encode("ascii", "backslashreplace").decode()
    name = header.partition(";")[0].strip().lower()
    return _ALIASES.get(name, name)


async def read_object(call: Call, *, optional: bool = False) -> dict[str, Any]:
    """The body as an object, by its Content-Type. Raises StatusError 400, 413 or 415.

    `optional`: an empty body is an empty object (DeleteOptions).
    """
    raw = await read(call)
    if not raw.strip():
        if optional:
            return {}
        raise errors.bad_request("the body is empty; send the object as JSON or YAML")
    given, accepted = media_type(call), _PARSERS
    if not optional and call.resource is not None and call.resource.served.info.group:
        accepted = _OWN_PARSERS
    parse = accepted.get(given)
    if parse is None:
        raise errors.unsupported_media_type(accepted, given)
    value = await in_turns(len(raw), partial(parse, raw))
    if not isinstance(value, dict):
        raise errors.bad_request(f"the body must be an object, not {_type_name(value)}")
    return value


def parse_json(raw: bytes) -> Any:
    """Strict JSON. Raises StatusError 400."""
    try:
        value = _JSON.decode(raw.decode())
    except RecursionError as exc:
        raise _too_deep() from exc
    except UnicodeDecodeError as exc:
        raise errors.bad_request("the body is not UTF-8") from exc
    except json.JSONDecodeError as exc:
        raise errors.bad_request(
            f"the body is not JSON: {exc.msg} at line {exc.lineno}, column {exc.colno}"
        ) from exc
    except ValueError as exc:  # int() takes no more than 4,300 digits
        raise errors.bad_request("a number does not fit 64 bits") from exc
    if not _is_plain(raw):
        check(value)
    return value


def _is_plain(raw: bytes) -> bool:
    """Whether `check` would find nothing in what this JSON says, told without walking it: no text
    but ASCII as it stands, no number of more than 18 digits or with an exponent, too few brackets
    to nest too deep."""
    return (
        raw.isascii()
        and b"\\u" not in raw
        and raw.count(b"{") + raw.count(b"[") <= MAX_DEPTH
        and not _LONG_NUMBER.search(raw)
    )


def parse_protobuf(raw: bytes) -> Any:
    """The protobuf form of core kinds. Raises StatusError 400, or 415 for a kind without one."""
    try:
        value = decode_protobuf(raw)
    except UnsupportedProtobufError as exc:
        raise errors.unsupported_media_type((JSON, YAML), PROTOBUF) from exc
    except ProtobufError as exc:
        raise errors.bad_request(f"the body is not a protobuf object: {exc}") from exc
    check(value)
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise errors.bad_request(f"duplicate key {_cut(key)}: write it once")
            seen.add(key)
    return found


def _refuse_constant(name: str) -> Any:
    raise errors.bad_request(f"{name} is not a number; write a finite one")


_LONG_NUMBER: Final = re.compile(rb"[0-9](?:[0-9]{18}|[eE])")
_JSON: Final = json.JSONDecoder(object_pairs_hook=_no_duplicates, parse_constant=_refuse_constant)


def _too_deep() -> errors.StatusError:
    return errors.bad_request(f"the body is nested deeper than {MAX_DEPTH} levels")


def check(value: Any) -> None:
    """Nesting, numbers and text that could not be written out again. Raises StatusError 400."""
    if not _fine(value, MAX_DEPTH):
        _explain(value)


def _fine(value: Any, levels: int) -> bool:
    """What `_explain` refuses, as fast as it can be told: this runs on every write."""
    kind = type(value)
    if kind is str:
        return value.isascii() and "\0" not in value
    if kind is dict:
        if levels <= 0:  # before going deeper: a patch can nest more than Python's stack has
            return False
        for key, sub in value.items():
            if not key.isascii() or "\0" in key or not _fine(sub, levels - 1):
                return False
        return True
    if kind is list:
        return levels > 0 and all(_fine(item, levels - 1) for item in value)
    if kind is int:
        return bool(-(2**63) <= value < 2**63)
    return kind is not float or math.isfinite(value)


def _explain(value: Any) -> None:
    """Find what is wrong, and where; text that is only not ASCII is fine."""
    level: list[tuple[str, Any]] = [("", value)]
    for _ in range(MAX_DEPTH + 1):
        below: list[tuple[str, Any]] = []
        for path, item in level:
            if isinstance(item, dict):
                _check_text("", item)
                below += [(f"{path}.{key}" if path else key, sub) for key, sub in item.items()]
            elif isinstance(item, list):
                below += [(f"{path}[{index}]", sub) for index, sub in enumerate(item)]
            else:
                _check_scalar(path, item)
        if not below:
            return
        level = below
    raise _too_deep()


def _check_scalar(path: str, value: Any) -> None:
    if isinstance(value, str):
        _check_text(path, (value,))
    elif isinstance(value, float) and not math.isfinite(value):
        raise errors.bad_request(f"{path}: the number is not finite")
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise errors.bad_request(f"{path}: the number does not fit 64 bits")


def _check_text(path: str, texts: Iterable[str]) -> None:
    for text in texts:
        if "\0" in text:
            raise errors.bad_request(f"{path or 'a key'}: NUL characters are not allowed")
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError as exc:
                raise errors.bad_request(
                    f"{path or 'a key'}: the text holds half a surrogate pair"
                ) from exc


def _cut(text: str) -> str:
    return repr(text if len(text) <= 64 else text[:64] + "…")


def _type_name(value: Any) -> str:
    names = {list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


_INT: Final = re.compile(r"[-+]?(0o[0-7]+|0x[0-9a-fA-F]+|[0-9]+)")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


_TAG_LINE: Final = re.compile(r"(?:\A\ufeff?|[\r\n\x85\u2028\u2029])%TAG\b")
"""Where libyaml looks for a directive: at the beginning of what it takes for a line."""
_MAX_TAG_LINES: Final = 16
"""More than a text that is no directive may begin its lines with: libyaml compares each with all
before it, 11 s for a body full of them, in which Python runs nothing else."""


def parse_yaml(raw: bytes) -> Any:
    """One YAML 1.2 (core schema) document. Raises StatusError 400.

    Built from parser events with a stack of our own, so that neither nesting nor anchors can
    cost more than the text itself. Timestamps and `yes`/`no` stay text.
    """
    encoding = "utf-16" if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8"
    tag_lines = _TAG_LINE.finditer(raw.decode(encoding, "replace"))
    if sum(1 for _ in islice(tag_lines, _MAX_TAG_LINES + 1)) > _MAX_TAG_LINES:
        raise errors.bad_request("YAML tags are not accepted: the body has too many %TAG lines")
    try:
        value = _YamlBuilder().build(raw)
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(exc, "problem", None) or "it cannot be read"
        raise errors.bad_request(f"the body is not YAML: {problem}{where}") from exc
    check(value)
    return value


class _YamlBuilder:
    """Values from YAML events; refuses what JSON has no word for."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._keys: list[str | None] = []
        self._documents = 0
        self._result: Any = None

    def build(self, raw: bytes) -> Any:
        for event in yaml.parse(raw, Loader=yaml.CSafeLoader):
            self._take(event)
        return self._result

    def _take(self, event: Any) -> None:
        if getattr(event, "anchor", None) is not None:
            raise errors.bad_request(
                f"YAML anchors and aliases are not accepted{_line(event)}; write the value out"
            )
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise errors.bad_request("the body holds several documents; send one")
            case yaml.MappingStartEvent():
                self._open(event, {})
            case yaml.SequenceStartEvent():
                self._open(event, [])
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._stack.pop()
                self._keys.pop()
            case yaml.ScalarEvent():
                self._scalar(event)
            case _:
                pass

    def _open(self, event: Any, container: Any) -> None:
        if len(self._stack) >= MAX_DEPTH:
            raise _too_deep()
        self._add(event, container)
        self._stack.append(container)
        self._keys.append(None)

    def _scalar(self, event: Any) -> None:
        in_key = self._stack and isinstance(self._stack[-1], dict) and self._keys[-1] is None
        if not in_key:
            self._add(event, _resolve(event))
            return
        key = event.value
        if key in self._stack[-1]:
            raise errors.bad_request(f"duplicate key {_cut(key)}{_line(event)}: write it once")
        if key == "<<" and event.implicit[0]:
            raise errors.bad_request(f"YAML merge keys are not accepted{_line(event)}")
        self._keys[-1] = key

    def _add(self, event: Any, value: Any) -> None:
        if not self._stack:
            self._result = value
            return
        parent = self._stack[-1]
        if isinstance(parent, list):
            parent.append(value)
            return
        key = self._keys[-1]
        if key is None:
            raise errors.bad_request(f"a key must be text{_line(event)}")
        parent[key] = value
        self._keys[-1] = None


def _line(event: Any) -> str:
    return f" (line {event.start_mark.line + 1})"


def _resolve(event: Any) -> Any:
    """The value of a scalar: quoted is text, plain as in YAML 1.2's core schema."""
    text: str = event.value
    if event.tag not in (None, "!", "tag:yaml.org,2002:str"):
        raise errors.bad_request(f"YAML tags are not accepted{_line(event)}")
    if not event.implicit[0] or event.tag is not None:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return _integer(text, event)
    if _NOT_FINITE.fullmatch(text):
        raise errors.bad_request(f"{text} is not a number{_line(event)}; write a finite one")
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def _integer(text: str, event: Any) -> int:
    if len(text) > 24:  # longer than any 64-bit number: int() of a megabyte of digits takes long
        raise errors.bad_request(f"the number does not fit 64 bits{_line(event)}")
    digits = text.lstrip("+-")
    base = 8 if digits.startswith("0o") else 16 if digits.startswith("0x") else 10
    return int(text, base)


_PARSERS: Final[dict[str, Callable[[bytes], Any]]] = {
    JSON: parse_json,
    YAML: parse_yaml,
    PROTOBUF: parse_protobuf,
}
_OWN_PARSERS: Final[dict[str, Callable[[bytes], Any]]] = {JSON: parse_json, YAML: parse_yaml}
"""Of kinds that are not Kubernetes' own: these have no protobuf, as a custom resource has none."""


def canonical(value: Any) -> bytes:
    """Sorted, compact JSON: for comparing."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
