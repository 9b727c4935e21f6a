"""OpenAPI v3 paths of a kind: every operation with its action, kind and parameters.

kubectl decides by them: a PATCH with the `fieldValidation` parameter turns server-side
validation on, and the content types of its body say which patches may be sent, so
strategic-merge is listed for core kinds only.
"""

from collections.abc import Iterator
from typing import Any, Final

from api.builtin import DEPLOYMENT, RESTART_PATCHES
from api.metaschema import DELETE_OPTIONS, PATCH, SCALE, STATUS, ref
from api.published import gvk, schema_name
from resources.meta import KindInfo

Operation = dict[str, Any]

_PATCHES: Final = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/apply-patch+yaml",
)
_STRATEGIC: Final = "application/strategic-merge-patch+json"


def _parameter(
    name: str, description: str, type_: str = "string", *, where: str = "query"
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": name,
        "in": where,
        "description": description,
        "schema": {"type": type_, "uniqueItems": True},
    }
    return {**found, "required": True} if where == "path" else found


_NAMESPACE: Final = _parameter("namespace", "The namespace of the record.", where="path")
_NAME: Final = _parameter("name", "The name of the record.", where="path")
_SELECTING: Final = (
    _parameter("labelSelector", "Only records whose labels match."),
    _parameter("fieldSelector", "Only records whose fields match."),
    _parameter("limit", "At most so many; the rest follows by `continue`.", "integer"),
    _parameter("continue", "Go on where the page before ended."),
    _parameter("resourceVersion", "Not older than this version; 0 takes what is at hand."),
    _parameter("resourceVersionMatch", "How `resourceVersion` is meant: NotOlderThan or Exact."),
    _parameter("timeoutSeconds", "End a watch after so many seconds.", "integer"),
    _parameter("watch", "Follow changes instead of listing.", "boolean"),
    _parameter("allowWatchBookmarks", "Also send bookmarks to a watch.", "boolean"),
    _parameter("sendInitialEvents", "Start a watch with what there is.", "boolean"),
)
_WRITING: Final = (
    _parameter("dryRun", "All: check everything, change nothing."),
    _parameter("fieldManager", "Who is to own the fields written."),
    _parameter("fieldValidation", "Unknown fields: Ignore, Warn or Strict."),
)
_APPLYING: Final = _parameter("force", "Take over fields of other managers (apply).", "boolean")
_DELETING: Final = (
    _parameter("dryRun", "All: check everything, change nothing."),
    _parameter("gracePeriodSeconds", "Accepted and ignored.", "integer"),
    _parameter("propagationPolicy", "Owned records: Background, Foreground or Orphan."),
    _parameter("orphanDependents", "True: as propagationPolicy Orphan; not with it.", "boolean"),
)


def paths(info: KindInfo) -> Iterator[tuple[str, dict[str, Any]]]:
    """(path, path item) of everything that can be done with a kind."""
    prefix = f"/apis/{info.group}/{info.version}" if info.group else f"/api/{info.version}"
    inside = f"{prefix}/namespaces/{{namespace}}/{info.plural}"
    collection = inside if info.namespaced else f"{prefix}/{info.plural}"
    shared = [_NAMESPACE] if info.namespaced else []
    yield collection, _item(shared, _collection(info))
    if info.namespaced and "list" in info.verbs:
        everywhere = _list(info, "ForAllNamespaces")
        yield f"{prefix}/{info.plural}", _item([], {"get": everywhere})
    single = _single(info)
    if not single:
        return
    named = [_NAME, *shared]
    yield f"{collection}/{{name}}", _item(named, single)
    if info.has_status:
        yield (
            f"{collection}/{{name}}/status",
            _item(named, _part(info, "Status", schema_name(info))),
        )
    if info.scalable:
        yield f"{collection}/{{name}}/scale", _item(named, _part(info, "Scale", SCALE))


def _item(parameters: list[dict[str, Any]], operations: dict[str, Operation]) -> dict[str, Any]:
    return {**operations, "parameters": parameters} if parameters else operations


def _operation(
    info: KindInfo,
    action: str,
    verb: str,
    description: str,
    *,
    answer: str,
    code: str = "200",
    parameters: tuple[dict[str, Any], ...] = (),
    scope: str = "",
) -> Operation:
    group = "".join(part.capitalize() for part in (info.group or "core").split("."))
    where = "Namespaced" if info.namespaced and not scope.startswith("For") else ""
    return {
        "tags": [f"{info.group or 'core'}_{info.version}"],
        "description": description,
        "operationId": f"{verb}{group}{info.version.upper()}{where}{info.kind}{scope}",
        "parameters": list(parameters),
        "responses": {
            code: {"description": "OK", "content": {"application/json": {"schema": ref(answer)}}},
            "default": {
                "description": "What went wrong",
                "content": {"application/json": {"schema": ref(STATUS)}},
            },
        },
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": gvk(info),
    }


def _body(operation: Operation, name: str, *types: str, required: bool = True) -> Operation:
    content = {type_: {"schema": ref(name)} for type_ in types or ("application/json",)}
    return {**operation, "requestBody": {"content": content, "required": required}}


def _list(info: KindInfo, scope: str = "") -> Operation:
    return _operation(
        info,
        "list",
        "list",
        f"List or watch every {info.kind}.",
        answer=schema_name(info, "List"),
        parameters=_SELECTING,
        scope=scope,
    )


def _collection(info: KindInfo) -> dict[str, Operation]:
    found = {}
    if "list" in info.verbs:
        found["get"] = _list(info)
    if "create" in info.verbs:
        create = _operation(
            info,
            "post",
            "create",
            f"Create a {info.kind}.",
            answer=schema_name(info),
            code="201",
            parameters=_WRITING,
        )
        found["post"] = _body(create, schema_name(info))
    if "deletecollection" in info.verbs:
        delete = _operation(
            info,
            "deletecollection",
            "deleteCollection",
            f"Delete every {info.kind} that matches.",
            answer=schema_name(info, "List"),
            parameters=(*_SELECTING[:2], *_DELETING),
        )
        found["delete"] = _body(delete, DELETE_OPTIONS, required=False)
    return found


def _single(info: KindInfo) -> dict[str, Operation]:
    found: dict[str, Operation] = {}
    name = schema_name(info)
    if "get" in info.verbs:
        found["get"] = _operation(info, "get", "read", f"Read one {info.kind}.", answer=name)
    if "update" in info.verbs:
        put = _operation(
            info, "put", "replace", f"Replace a {info.kind}.", answer=name, parameters=_WRITING
        )
        found["put"] = _body(put, name)
    if info == DEPLOYMENT:
        found["patch"] = _restart(info, name)
    elif "patch" in info.verbs:
        patch = _patch(info, f"Change or apply a {info.kind}.", name)
        # applying what is not there makes it
        patch["responses"]["201"] = patch["responses"]["200"]
        found["patch"] = patch
    if "delete" in info.verbs:
        delete = _operation(
            info,
            "delete",
            "delete",
            f"Delete a {info.kind}.",
            answer=STATUS,
            parameters=_DELETING,
        )
        # gone at once: a Status; held by finalizers: the record itself
        delete["responses"]["200"]["content"]["application/json"]["schema"] = {
            "anyOf": [ref(STATUS), ref(name)]
        }
        found["delete"] = _body(delete, DELETE_OPTIONS, required=False)
    return found


def _patch(info: KindInfo, description: str, answer: str, scope: str = "") -> Operation:
    operation = _operation(
        info,
        "patch",
        "patch",
        description,
        answer=answer,
        parameters=(*_WRITING, _APPLYING),
        scope=scope,
    )
    types = _PATCHES if info.group else (*_PATCHES, _STRATEGIC)
    return _body(operation, PATCH, *types)


def _restart(info: KindInfo, name: str) -> Operation:
    about = f"Restart what a {info.kind} shows."
    patch = _operation(info, "patch", "patch", about, answer=name, parameters=_WRITING)
    return _body(patch, PATCH, *RESTART_PATCHES)


def _part(info: KindInfo, scope: str, name: str) -> dict[str, Operation]:
    """get, put and patch of a subresource."""
    about = f"the {scope.lower()} of a {info.kind}"
    get = _operation(info, "get", "read", f"Read {about}.", answer=name, scope=scope)
    put = _operation(
        info,
        "put",
        "replace",
        f"Replace {about}.",
        answer=name,
        parameters=_WRITING,
        scope=scope,
    )
    return {
        "get": get,
        "put": _body(put, name),
        "patch": _patch(info, f"Change {about}.", name, scope),
    }
