"""Protobuf request bodies of the core kinds, decoded to the JSON objects they stand for.

kubectl from 1.32 on sends `create namespace|secret|configmap`, `auth can-i` and `auth whoami`
as protobuf and doesn't retry them as JSON. Decoding only: every answer is JSON, which all
clients accept. Not a general protobuf library: the tables below are all it knows.

Field numbers: https://github.com/kubernetes/api and /apimachinery, the generated.proto of each.
"""

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson

MAGIC: Final = b"k8s\x00"
_MAX_DEPTH: Final = 16


class ProtobufError(ValueError):
    """The body isn't what its content type says."""


class UnsupportedProtobufError(ProtobufError):
    """A well-formed body of a kind that is taken as JSON or YAML only."""


@dataclass(frozen=True, slots=True)
class _Field:
    """How one field number reads: its JSON name and how its bytes become a value."""

    name: str
    read: Callable[[int | bytes, int], Any]
    repeated: bool = False
    mapped: bool = False


def _text(value: int | bytes, _depth: int) -> str:
    return _bytes(value).decode()


def _integer(value: int | bytes, _depth: int) -> int:
    if isinstance(value, bytes):
        raise ProtobufError("a number was expected")
    return value - (1 << 64) if value >> 63 else value


def _boolean(value: int | bytes, _depth: int) -> bool:
    return value != 0


def _base64(value: int | bytes, _depth: int) -> str:
    return base64.b64encode(_bytes(value)).decode()


def _json(value: int | bytes, depth: int) -> Any:
    for number, inner in read_fields(_bytes(value)):
        if number == 1:
            return orjson.loads(_bytes(inner))
    return None


def _time(value: int | bytes, depth: int) -> str | None:
    found = dict(read_fields(_bytes(value)))
    if not found:  # Go's zero time is written as an empty message
        return None
    when = datetime.fromtimestamp(_integer(found.get(1, 0), depth), UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def _micro_time(value: int | bytes, depth: int) -> str | None:
    found = dict(read_fields(_bytes(value)))
    if not found:
        return None
    when = datetime.fromtimestamp(_integer(found.get(1, 0), depth), UTC)
    micros = _integer(found.get(2, 0), depth) // 1000
    return when.strftime("%Y-%m-%dT%H:%M:%S.") + f"{micros:06d}Z"


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ProtobufError("bytes were expected")
    return value


Table = Mapping[int, _Field]


def _message(table: Table) -> Callable[[int | bytes, int], dict[str, Any]]:
    def read(value: int | bytes, depth: int) -> dict[str, Any]:
        return _decode(_bytes(value), table, depth + 1)

    return read


def _texts(*names: tuple[int, str]) -> dict[int, _Field]:
    return {number: _Field(name, _text) for number, name in names}


_OWNER: Final[Table] = {
    **_texts((1, "kind"), (3, "name"), (4, "uid"), (5, "apiVersion")),
    6: _Field("controller", _boolean),
    7: _Field("blockOwnerDeletion", _boolean),
}
_MANAGED: Final[Table] = {
    **_texts(
        (1, "manager"), (2, "operation"), (3, "apiVersion"), (6, "fieldsType"), (8, "subresource")
    ),
    4: _Field("time", _time),
    7: _Field("fieldsV1", _json),
}
_META: Final[Table] = {
    **_texts((1, "name"), (2, "generateName"), (3, "namespace"), (5, "uid")),
    6: _Field("resourceVersion", _text),
    7: _Field("generation", _integer),
    8: _Field("creationTimestamp", _time),
    9: _Field("deletionTimestamp", _time),
    10: _Field("deletionGracePeriodSeconds", _integer),
    11: _Field("labels", _text, mapped=True),
    12: _Field("annotations", _text, mapped=True),
    13: _Field("ownerReferences", _message(_OWNER), repeated=True),
    14: _Field("finalizers", _text, repeated=True),
    17: _Field("managedFields", _message(_MANAGED), repeated=True),
}
_METADATA: Final = _Field("metadata", _message(_META))
_REFERENCE: Final[Table] = _texts(
    (1, "kind"),
    (2, "namespace"),
    (3, "name"),
    (4, "uid"),
    (5, "apiVersion"),
    (6, "resourceVersion"),
    (7, "fieldPath"),
)
_ATTRIBUTES: Final[Table] = _texts(
    (1, "namespace"),
    (2, "verb"),
    (3, "group"),
    (4, "version"),
    (5, "resource"),
    (6, "subresource"),
    (7, "name"),
)
_ACCESS_SPEC: Final[Table] = {
    1: _Field("resourceAttributes", _message(_ATTRIBUTES)),
    2: _Field("nonResourceAttributes", _message(_texts((1, "path"), (2, "verb")))),
}
_TOKEN_SPEC: Final[Table] = {
    1: _Field("token", _text),
    2: _Field("audiences", _text, repeated=True),
}
_KINDS: Final[Mapping[str, Table]] = {
    "Namespace": {
        1: _METADATA,
        2: _Field("spec", _message({1: _Field("finalizers", _text, repeated=True)})),
        3: _Field("status", _message(_texts((1, "phase")))),
    },
    "Secret": {
        1: _METADATA,
        2: _Field("data", _base64, mapped=True),
        3: _Field("type", _text),
        4: _Field("stringData", _text, mapped=True),
        5: _Field("immutable", _boolean),
    },
    "ConfigMap": {
        1: _METADATA,
        2: _Field("data", _text, mapped=True),
        3: _Field("binaryData", _base64, mapped=True),
        4: _Field("immutable", _boolean),
    },
    "Event": {
        1: _METADATA,
        2: _Field("involvedObject", _message(_REFERENCE)),
        3: _Field("reason", _text),
        4: _Field("message", _text),
        5: _Field("source", _message(_texts((1, "component"), (2, "host")))),
        6: _Field("firstTimestamp", _time),
        7: _Field("lastTimestamp", _time),
        8: _Field("count", _integer),
        9: _Field("type", _text),
        10: _Field("eventTime", _micro_time),
        12: _Field("action", _text),
        13: _Field("related", _message(_REFERENCE)),
        14: _Field("reportingComponent", _text),
        15: _Field("reportingInstance", _text),
    },
    "SelfSubjectAccessReview": {1: _METADATA, 2: _Field("spec", _message(_ACCESS_SPEC))},
    "SelfSubjectRulesReview": {
        1: _METADATA,
        2: _Field("spec", _message(_texts((1, "namespace")))),
    },
    "SelfSubjectReview": {1: _METADATA},
    "TokenReview": {1: _METADATA, 2: _Field("spec", _message(_TOKEN_SPEC))},
    "DeleteOptions": {
        1: _Field("gracePeriodSeconds", _integer),
        2: _Field("preconditions", _message(_texts((1, "uid"), (2, "resourceVersion")))),
        3: _Field("orphanDependents", _boolean),
        4: _Field("propagationPolicy", _text),
        5: _Field("dryRun", _text, repeated=True),
    },
}


def decode_protobuf(body: bytes) -> dict[str, Any]:
    """The JSON object that a `application/vnd.kubernetes.protobuf` body stands for.

    Raises UnsupportedProtobufError (415) for a kind outside the tables, ProtobufError (400) for
    bytes that aren't a Kubernetes envelope.
    """
    if not body.startswith(MAGIC):
        raise ProtobufError("the body does not start with the Kubernetes protobuf prefix")
    try:
        return _envelope(body[len(MAGIC) :])
    except ProtobufError:
        raise
    except (ValueError, OverflowError, OSError) as exc:
        raise ProtobufError(f"the protobuf body does not decode: {type(exc).__name__}") from exc


def _envelope(body: bytes) -> dict[str, Any]:
    """runtime.Unknown: 1 = TypeMeta, 2 = the object's own message."""
    parts = dict(read_fields(body))
    types = _decode(_bytes(parts.get(1, b"")), _texts((1, "apiVersion"), (2, "kind")), 0)
    kind = types.get("kind", "")
    if kind not in _KINDS:
        raise UnsupportedProtobufError(
            f"the kind {kind!r} is not accepted as protobuf; send it as application/json"
        )
    return {**types, **_decode(_bytes(parts.get(2, b"")), _KINDS[kind], 0)}


def _decode(body: bytes, table: Table, depth: int) -> dict[str, Any]:
    if depth > _MAX_DEPTH:
        raise ProtobufError("messages are nested too deeply")
    found: dict[str, Any] = {}
    for number, value in read_fields(body):
        if (field := table.get(number)) is None:
            continue
        if field.mapped:
            entry = dict(read_fields(_bytes(value)))
            key = _text(entry.get(1, b""), depth)
            found.setdefault(field.name, {})[key] = field.read(entry.get(2, b""), depth)
            continue
        read = field.read(value, depth)
        if field.repeated:
            found.setdefault(field.name, []).append(read)
        elif read not in ("", None, {}):  # Go writes its zero values; JSON leaves them out
            found[field.name] = read
    return found


def read_fields(body: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, varint or bytes) of each field of a message, in order."""
    at = 0
    while at < len(body):
        tag, at = _varint(body, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(body, at)
            yield number, value
            continue
        if wire == 2:
            size, at = _varint(body, at)
        else:
            size = {1: 8, 5: 4}.get(wire, -1)
        if size < 0 or at + size > len(body):
            raise ProtobufError("the protobuf body is cut short or of an unknown wire type")
        yield number, body[at : at + size]
        at += size


def _varint(body: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(body) and shift < 70:
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
    raise ProtobufError("the protobuf body ends within a number")
