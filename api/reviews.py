"""Who am I, and what may I do: the review kinds, answered and never stored.

SelfSubjectReview, SelfSubjectAccessReview, SelfSubjectRulesReview and TokenReview
(https://kubernetes.io/docs/reference/access-authn-authz/). They ask access.py, as every
request does; nothing is decided here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from aiohttp import web

from api import errors
from api.answers import json_response
from api.body import read_object
from api.builtin import AUTHENTICATION, AUTHORIZATION, READ_ONLY
from api.context import Call
from api.discovery import all_kinds
from api.routes import Route
from controlplane.access import ADMINS, VIEWERS, Attempt, User, allowed

_READS: Final = ("get", "list", "watch")
_PUBLIC_PATHS: Final = ("/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi/*")


def _spec(body: Mapping[str, Any] | None) -> Mapping[str, Any]:
    spec = (body or {}).get("spec") or {}
    if not isinstance(spec, Mapping):
        raise errors.bad_request("spec must be an object")
    return spec


def _answer(
    kind: str, group: str, spec: Mapping[str, Any], status: Mapping[str, Any]
) -> web.Response:
    found: dict[str, Any] = {
        "kind": kind,
        "apiVersion": f"{group}/v1",
        "metadata": {"creationTimestamp": None},
    }
    if spec:
        found["spec"] = dict(spec)
    return json_response({**found, "status": dict(status)}, status=201)


def _user_info(user: User) -> dict[str, Any]:
    found: dict[str, Any] = {"username": user.name, "groups": list(user.groups)}
    return {**found, "uid": user.uid} if user.uid else found


async def who_am_i(call: Call) -> web.StreamResponse:
    """`kubectl auth whoami`."""
    await read_object(call, optional=True)
    return _answer("SelfSubjectReview", AUTHENTICATION, {}, {"userInfo": _user_info(call.user)})


async def token_review(call: Call) -> web.StreamResponse:
    """Whose token is this? Only administrators may ask about other people's."""
    spec = _spec(await read_object(call))
    token = spec.get("token")
    if not isinstance(token, str) or not token:
        raise errors.bad_request("spec.token: write the token to look up")
    if token != call.token and ADMINS not in call.user.groups:
        raise errors.StatusError(
            403, "Forbidden", "tokenreviews is forbidden: only an administrator may ask this"
        )
    user = await call.ctx.access.authenticate(token)
    if user is None:
        status: dict[str, Any] = {"authenticated": False, "error": "the token is not valid"}
    else:
        status = {"authenticated": True, "user": _user_info(user)}
    # the token itself is not repeated: answers end up in logs
    return _answer("TokenReview", AUTHENTICATION, {}, status)


async def access_review(call: Call) -> web.StreamResponse:
    """`kubectl auth can-i VERB RESOURCE`."""
    spec = _spec(await read_object(call))
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if isinstance(resource, Mapping):
        may = allowed(call.user, _attempt(call, resource))
    elif isinstance(path, Mapping):
        may = _may_path(call.user, _text(path, "verb"), _text(path, "path"))
    else:
        raise errors.bad_request(
            "spec: write resourceAttributes or nonResourceAttributes, and not both"
        )
    reason = "allowed by the roles of the user's groups" if may else "no role of the user allows it"
    return _answer(
        "SelfSubjectAccessReview", AUTHORIZATION, spec, {"allowed": may, "reason": reason}
    )


def _text(found: Mapping[str, Any], name: str) -> str:
    value = found.get(name) or ""
    if not isinstance(value, str):
        raise errors.bad_request(f"spec: {name} must be a string")
    return value


def _attempt(call: Call, found: Mapping[str, Any]) -> Attempt:
    """What a request for it would be: kubectl names its namespace for what is in none, too."""
    attempt = Attempt(
        verb=_text(found, "verb"),
        group=_text(found, "group"),
        resource=_text(found, "resource"),
        subresource=_text(found, "subresource"),
        namespace=_text(found, "namespace"),
        name=_text(found, "name"),
    )
    asked = (attempt.group, attempt.resource)
    for info in all_kinds(call.ctx.kinds):
        if (info.group, info.plural) == asked and not info.namespaced:
            return replace(attempt, namespace="")
    return attempt


def _may_path(user: User, verb: str, path: str) -> bool:
    """Paths that are no records: discovery for everyone known, metrics for readers."""
    if ADMINS in user.groups:
        return True
    if verb not in ("get", "head"):
        return False
    if path == "/metrics":
        return VIEWERS in user.groups
    return any(
        path == public or (public.endswith("*") and path.startswith(public[:-1]))
        for public in _PUBLIC_PATHS
    )


async def rules_review(call: Call) -> web.StreamResponse:
    """`kubectl auth can-i --list`."""
    spec = _spec(await read_object(call))
    if ADMINS in call.user.groups:
        resources = [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]
        paths = [{"verbs": ["*"], "nonResourceURLs": ["*"]}]
    else:
        resources = [*_allowed(call, _text(spec, "namespace")), *_reviews()]
        paths = [{"verbs": ["get"], "nonResourceURLs": list(_PUBLIC_PATHS)}]
    status = {"resourceRules": resources, "nonResourceRules": paths, "incomplete": False}
    return _answer("SelfSubjectRulesReview", AUTHORIZATION, spec, status)


def _allowed(call: Call, namespace: str) -> Iterator[dict[str, list[str]]]:
    """One rule for each kind with verbs the caller may use in a namespace, asked of access.py one
    by one."""
    for info in (*(served.info for served in call.ctx.kinds), *READ_ONLY):
        where = namespace if info.namespaced else ""
        verbs = [
            verb
            for verb in info.verbs
            if allowed(call.user, Attempt(verb, info.group, info.plural, namespace=where))
        ]
        if verbs:
            yield {"verbs": verbs, "apiGroups": [info.group], "resources": [info.plural]}


def _reviews() -> Iterator[dict[str, list[str]]]:
    """Everyone known may ask about themselves."""
    for group, names in (
        (AUTHENTICATION, ["selfsubjectreviews"]),
        (AUTHORIZATION, ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]),
    ):
        yield {"verbs": ["create"], "apiGroups": [group], "resources": names}


def _route(group: str, plural: str, handler: Any) -> Route:
    return Route("POST", f"/apis/{group}/v1/{plural}", handler, resource=plural)


ROUTES: Final = (
    _route(AUTHENTICATION, "selfsubjectreviews", who_am_i),
    _route(AUTHENTICATION, "tokenreviews", token_review),
    _route(AUTHORIZATION, "selfsubjectaccessreviews", access_review),
    _route(AUTHORIZATION, "selfsubjectrulesreviews", rules_review),
)
