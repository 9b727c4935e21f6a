"""Reads a resource path: group, version, namespace, plural, name, subresource, verb. Pure.

/api/v1 is the core group, /apis/{group}/{version} any other. `namespaces/{ns}/{x}` is a
subresource of Namespace only when x is one; otherwise x is a kind's plural inside that namespace.
"""

from typing import Final

from api import errors
from api.context import Target
from api.routes import split
from api.served import Catalogue, Served

_NAMESPACE_SUBRESOURCES: Final = frozenset({"status", "finalize"})
_COLLECTION: Final = {"GET": "list", "HEAD": "list", "POST": "create", "DELETE": "deletecollection"}
_ITEM: Final = {
    "GET": "get",
    "HEAD": "get",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}
_SUBRESOURCE: Final = {"GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch"}


def is_resource_path(path: str) -> bool:
    return path.startswith(("/api/v1/", "/apis/"))


def resolve(catalogue: Catalogue, method: str, path: str, *, watch: bool = False) -> Target:
    """What the request is about. Raises StatusError 404 for an unknown resource, 405 for a verb
    the resource does not have, 400 for a delete of what may not be meant."""
    if method == "DELETE" and (path.endswith("/") or "//" in path):
        # `$URL/configmaps/$NAME` without a NAME would take all of them
        raise errors.bad_request("the path of a delete has an empty segment: is a name missing?")
    group, rest = _group(split(path))
    namespace: str | None = None
    if len(rest) >= 3 and rest[0] == "namespaces" and not _of_namespace(rest):
        namespace, rest = rest[1], rest[2:]
    if not rest or len(rest) > 3:
        raise errors.no_such_path()
    served = catalogue.find(group, rest[0])
    if served is None or (namespace is not None and not served.info.namespaced):
        raise errors.no_such_path()
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    _check_path(served, namespace, name, subresource)
    verb = _verb(served, method, namespace, name, subresource)
    if verb == "list" and watch:
        verb = "watch"
    return Target(served, verb, namespace, name, subresource)


def _group(segments: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """The group/version asked for, and the segments after it."""
    if segments[:2] == ("api", "v1"):
        return "v1", segments[2:]
    if segments[:1] == ("apis",) and len(segments) > 3:
        return f"{segments[1]}/{segments[2]}", segments[3:]
    raise errors.no_such_path()


def _of_namespace(rest: tuple[str, ...]) -> bool:
    return len(rest) == 3 and rest[2] in _NAMESPACE_SUBRESOURCES


def _check_path(served: Served, namespace: str | None, name: str, subresource: str) -> None:
    if name and served.info.namespaced and namespace is None:
        raise errors.no_such_path()
    if subresource and subresource not in served.subresources:
        raise errors.no_such_path()


def _verb(served: Served, method: str, namespace: str | None, name: str, subresource: str) -> str:
    verbs = _SUBRESOURCE if subresource else _ITEM if name else _COLLECTION
    verb = verbs.get(method)
    everywhere = not name and served.info.namespaced and namespace is None
    served_here = subresource or verb in served.info.verbs
    if verb is not None and served_here and (verb == "list" or not everywhere):
        return verb
    allowed = {m for m, verb in verbs.items() if subresource or verb in served.info.verbs}
    # every namespace at once can only be read
    raise errors.method_not_allowed(allowed & {"GET", "HEAD"} if everywhere else allowed)
