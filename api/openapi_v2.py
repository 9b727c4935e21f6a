"""OpenAPI v2 of everything in one document: JSON, and the protobuf that older clients insist on.

kubectl up to 1.28 and Argo CD read protobuf only; Terraform reads JSON. Translated from the v3
documents, so that the two can't disagree. The wire form is gnostic's
(https://github.com/google/gnostic/blob/main/openapiv2/OpenAPIv2.proto), of which only what
clients read is written: schemas, and operations with their parameters and extensions.
"""

import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import orjson
from aiohttp import web

from api import errors
from api.context import Call
from api.documents import Document, Once, document, respond
from api.groups import group_versions
from api.negotiate import media_ranges
from api.openapi import schemas, v3_document
from api.routes import Route
from api.served import Catalogue

PROTOBUF: Final = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
"""What clients ask for."""
ANSWERED: Final = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
"""What they are told it is: Go's mime package refuses the `@`, so Kubernetes answers with a dot."""
_VERBS: Final = {"get": 2, "put": 3, "post": 4, "delete": 5, "patch": 8}
_DROPPED: Final = frozenset({"anyOf", "oneOf", "nullable", "additionalProperties", "items"})


def v2_document(catalogue: Catalogue) -> dict[str, Any]:
    """The whole API as one swagger 2.0 document."""
    paths: dict[str, Any] = {}
    definitions: dict[str, Any] = {}
    for pair in group_versions(info for info, _ in schemas(catalogue).values()):
        v3 = v3_document(catalogue, *pair)
        paths |= {path: _path_item(item) for path, item in v3["paths"].items()}
        definitions |= {name: _schema(s) for name, s in v3["components"]["schemas"].items()}
    return {
        "swagger": "2.0",
        "info": {"title": "Bunker Cloud", "version": "v1.32.0+bunker"},
        "paths": paths,
        "definitions": definitions,
    }


def _schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A v3 schema in v2's words: other references, and nothing that v2 has no word for."""
    if "$ref" in schema:
        return {"$ref": schema["$ref"].replace("#/components/schemas/", "#/definitions/")}
    if len(schema.get("allOf", ())) == 1:
        return {**_schema(schema["allOf"][0]), "description": schema.get("description", "")}
    found = {key: value for key, value in schema.items() if key not in _DROPPED}
    if "properties" in schema:
        found["properties"] = {n: _schema(s) for n, s in schema["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), Mapping):
            found[key] = _schema(schema[key])
    return found


def _path_item(item: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {verb: _operation(item[verb]) for verb in _VERBS if verb in item}
    if "parameters" in item:
        found["parameters"] = [_parameter(parameter) for parameter in item["parameters"]]
    return found


def _parameter(parameter: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in parameter.items() if key != "schema"}
    return {**found, "type": parameter["schema"]["type"], "uniqueItems": True}


def _operation(operation: Mapping[str, Any]) -> dict[str, Any]:
    parameters = [_parameter(parameter) for parameter in operation["parameters"]]
    found: dict[str, Any] = {key: operation[key] for key in ("tags", "description", "operationId")}
    body = operation.get("requestBody")
    if body is not None:
        found["consumes"] = list(body["content"])
        schema = next(iter(body["content"].values()))["schema"]
        parameters.append(
            {"name": "body", "in": "body", "required": body["required"], "schema": _schema(schema)}
        )
    found |= {"produces": ["application/json"], "parameters": parameters}
    found["responses"] = {
        code: _response(response) for code, response in operation["responses"].items()
    }
    return found | {key: value for key, value in operation.items() if key.startswith("x-")}


def _response(response: Mapping[str, Any]) -> dict[str, Any]:
    schema = response["content"]["application/json"]["schema"]
    first = schema["anyOf"][0] if "anyOf" in schema else schema
    return {"description": response["description"], "schema": _schema(first)}


def encode(found: Mapping[str, Any]) -> bytes:
    """A v2 document as gnostic's openapi.v2.Document."""
    info = _text(1, found["info"]["title"]) + _text(2, found["info"]["version"])
    paths = b"".join(
        _bytes(2, _named(path, _encode_path(item))) for path, item in found["paths"].items()
    )
    return (
        _text(1, found["swagger"])
        + _bytes(2, info)
        + _bytes(8, paths)
        + _bytes(9, _schemas(found["definitions"]))
    )


def _encode_path(item: Mapping[str, Any]) -> bytes:
    verbs = b"".join(
        _bytes(number, _encode_operation(item[verb]))
        for verb, number in _VERBS.items()
        if verb in item
    )
    return verbs + _parameters(9, item.get("parameters", ()))


def _encode_operation(operation: Mapping[str, Any]) -> bytes:
    responses = b"".join(
        _bytes(1, _named(code, _bytes(1, _encode_response(response))))
        for code, response in operation["responses"].items()
    )
    return (
        b"".join(_text(1, tag) for tag in operation["tags"])
        + _text(3, operation["description"])
        + _text(5, operation["operationId"])
        + b"".join(_text(6, media) for media in operation["produces"])
        + b"".join(_text(7, media) for media in operation.get("consumes", ()))
        + _parameters(8, operation["parameters"])
        + _bytes(9, responses)
        + _extensions(13, operation)
    )


def _encode_response(response: Mapping[str, Any]) -> bytes:
    schema = _bytes(1, _encode_schema(response["schema"]))
    return _text(1, response["description"]) + _bytes(2, schema)


def _parameters(number: int, parameters: Iterable[Mapping[str, Any]]) -> bytes:
    return b"".join(_bytes(number, _bytes(1, _encode_parameter(p))) for p in parameters)


def _encode_parameter(parameter: Mapping[str, Any]) -> bytes:
    """A Parameter: 1 = body, 2 = not body, within which 3 = query and 4 = path."""
    name, where = parameter["name"], parameter["in"]
    required = parameter.get("required", False)
    text = parameter.get("description", "")
    if where == "body":
        schema = _bytes(5, _encode_schema(parameter["schema"]))
        return _bytes(1, _text(2, name) + _text(3, where) + _flag(4, required) + schema)
    head = _flag(1, required) + _text(2, where) + _text(3, text) + _text(4, name)
    if where == "path":
        return _bytes(2, _bytes(4, head + _text(5, parameter["type"])))
    return _bytes(2, _bytes(3, head + _text(6, parameter["type"])))


def _encode_schema(schema: Mapping[str, Any]) -> bytes:
    parts = [write(schema[key]) for key, write in _SCHEMA_FIELDS.items() if key in schema]
    parts.append(_extensions(31, schema))
    return b"".join(parts)


def _schemas(found: Mapping[str, Any]) -> bytes:
    """Definitions, and Properties alike: named schemas."""
    return b"".join(_bytes(1, _named(n, _encode_schema(s))) for n, s in found.items())


_SCHEMA_FIELDS: Final[Mapping[str, Callable[[Any], bytes]]] = {
    "$ref": lambda value: _text(1, value),
    "format": lambda value: _text(2, value),
    "description": lambda value: _text(4, value),
    "default": lambda value: _bytes(5, _any(value)),
    "maximum": lambda value: _double(7, value),
    "minimum": lambda value: _double(9, value),
    "maxLength": lambda value: _number(11, value),
    "minLength": lambda value: _number(12, value),
    "pattern": lambda value: _text(13, value),
    "maxItems": lambda value: _number(14, value),
    "minItems": lambda value: _number(15, value),
    "required": lambda value: b"".join(_text(19, name) for name in value),
    "enum": lambda value: b"".join(_bytes(20, _any(item)) for item in value),
    "additionalProperties": lambda value: _bytes(21, _bytes(1, _encode_schema(value))),
    "type": lambda value: _bytes(22, _text(1, value)),
    "items": lambda value: _bytes(23, _bytes(1, _encode_schema(value))),
    "properties": lambda value: _bytes(25, _schemas(value)),
    "example": lambda value: _bytes(30, _any(value)),
}


def _extensions(number: int, found: Mapping[str, Any]) -> bytes:
    return b"".join(
        _bytes(number, _named(key, _any(value)))
        for key, value in found.items()
        if key.startswith("x-")
    )


def _any(value: object) -> bytes:
    """An Any whose value is YAML; JSON is YAML."""
    return _text(2, orjson.dumps(value).decode())


def _named(name: str, value: bytes) -> bytes:
    return _text(1, name) + _bytes(2, value)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _flag(number: int, value: bool) -> bytes:  # an encoder's operand
    return _number(number, 1) if value else b""


def _double(number: int, value: float) -> bytes:
    return _varint(number << 3 | 1) + struct.pack("<d", value)


def _bytes(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _text(number: int, value: str) -> bytes:
    return _bytes(number, value.encode())


def _made(catalogue: Catalogue) -> tuple[Document, Document]:
    found = v2_document(catalogue)
    return document(found), document(encode(found), ANSWERED)


_DOCUMENTS: Final = Once(_made)


async def _v2(call: Call) -> web.StreamResponse:
    as_json, as_protobuf = await _DOCUMENTS.of(call.ctx.kinds)
    for entry in media_ranges(call.request.headers.get("Accept")):
        if entry.type in (PROTOBUF, ANSWERED):
            return respond(call.request, as_protobuf)
        if entry.json:
            return respond(call.request, as_json)
    raise errors.not_acceptable(("application/json", PROTOBUF))


ROUTES: Final = (Route("GET", "/openapi/v2", _v2),)
