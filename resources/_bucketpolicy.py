"""A Bucket's policy, in S3's JSON: what a server takes, and what shuts the platform out. Pure."""

import re
from typing import Any, Final

import orjson

_HOW: Final = (
    'write {"Statement": [{"Effect": ..., "Principal": ..., "Action": ..., "Resource": ...}]}'
)
_OURS: Final = tuple(
    f"s3:{name}".lower()
    for name in (
        "ListBucket",  # of a bucket's HEAD, too
        "ListBucketVersions",
        "ListBucketMultipartUploads",
        "PutObject",  # SeaweedFS takes whom it is denied no list of uploads
        "GetBucketLocation",
        *("GetBucketPolicy", "PutBucketPolicy", "DeleteBucketPolicy"),
        *("GetBucketVersioning", "PutBucketVersioning"),
        *("GetLifecycleConfiguration", "PutLifecycleConfiguration"),
        # to AWS, to remove these is to put them
        *("GetBucketCORS", "PutBucketCORS", "DeleteBucketCORS"),
        *("GetBucketTagging", "PutBucketTagging", "DeleteBucketTagging"),
    )
)
"""What drivers/s3_network.py does on a bucket while its policy holds: before a bucket is emptied
and removed, the policy goes. In lower case: to AWS all cases are one."""
_PLACES: Final = {
    ours: {
        **{sign: sum(1 << n for n, each in enumerate(ours) if each == sign) for sign in ours},
        "?": (1 << len(ours)) - 1,
        "*": (2 << len(ours)) - 1,
    }
    for ours in _OURS
}
"""Where in each a sign of a pattern fits, as bits."""
_NAMED: Final = re.compile(r"arn:[-a-z]+:iam::[0-9]*:(user|role)/[^*?$]+")
"""One user or role, and by its full name: what else is named may be, or have in it, the platform
itself."""


def check_policy(text: str, mine: str) -> None:
    """A policy the server will take, about the bucket of that ARN alone. Raises ValueError."""
    for each in _statements(text):
        if not isinstance(each, dict) or each.get("Effect") not in ("Allow", "Deny"):
            raise ValueError(f"spec.policy has a statement without Effect Allow or Deny; {_HOW}")
        if not each.get("Principal") or not each.get("Action"):
            raise ValueError(f"spec.policy has a statement without Principal and Action; {_HOW}")
        if not _is_condition(each.get("Condition") or {}):
            raise ValueError(
                "spec.policy has a statement with an odd Condition; write {<operator>: {<key>: "
                '<values>}}, such as {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}'
            )
        for resource in _listed(each.get("Resource")):
            if not isinstance(resource, str) or not f"{resource}/".startswith(f"{mine}/"):
                raise ValueError(
                    f"spec.policy is about {resource!r}; write '{mine}' or '{mine}/<prefix>*'"
                )


def shuts_out(text: str, mine: str, administrator: str) -> bool:
    """Whether such a policy denies the platform something that it does on the bucket itself."""
    return any(
        each["Effect"] == "Deny"
        and _is_about(each, mine)
        and _is_of_ours(each)
        and not _are_others(each["Principal"], administrator)
        for each in _statements(text)
    )


def _is_about(statement: dict[str, Any], mine: str) -> bool:
    """Whether it can be about the bucket itself, as all can that only says what it is not about."""
    return "NotResource" in statement or mine in _listed(statement.get("Resource"))


def _listed(given: Any) -> list[Any]:
    return given if isinstance(given, list) else [given]


def _is_of_ours(statement: dict[str, Any]) -> bool:
    """Whether it can be about anything the platform does; what can't be told, can."""
    actions = _listed(statement["Action"])
    if not all(isinstance(each, str) and "$" not in each for each in actions):
        return True
    if any(_matches(each, ours) for ours in _OURS for each in actions):
        return True
    if "NotAction" not in statement:
        return False
    but = [each for each in _listed(statement["NotAction"]) if isinstance(each, str)]
    return not all(any(_matches(each, ours) for each in but) for ours in _OURS)


def _matches(pattern: str, action: str) -> bool:
    """With AWS's wildcards, and in time that grows with the pattern alone, which is a tenant's:
    bit n is set while what was read of the pattern can be the first n characters."""
    places = _PLACES[action]
    ends = 1
    for sign in pattern.lower():
        # a star: from the first end on, any
        ends = places[sign] & -(ends & -ends) if sign == "*" else (ends & places.get(sign, 0)) << 1
        if not ends:
            return False
    return bool(ends >> len(action))


def _are_others(principal: Any, administrator: str) -> bool:
    """Whether each is one user or role, other than the platform's administrator."""
    groups = principal.values() if isinstance(principal, dict) else [principal]
    return all(
        isinstance(name, str)
        and _NAMED.fullmatch(name) is not None
        and name.rpartition("/")[2] != administrator
        for group in groups
        for name in _listed(group)
    )


def _statements(text: str) -> list[Any]:
    """What can be read, and written again for the server. Raises ValueError."""
    try:
        policy = orjson.loads(text)
    except ValueError:
        raise ValueError(f"spec.policy is no JSON; {_HOW}") from None
    try:
        orjson.dumps(policy)
    except TypeError:
        raise ValueError(f"spec.policy is nested too deeply; {_HOW}") from None
    statements = policy.get("Statement") if isinstance(policy, dict) else None
    if not isinstance(statements, list) or not statements:
        raise ValueError(f"spec.policy has no list of statements; {_HOW}")
    return statements


def _is_condition(found: object) -> bool:
    return isinstance(found, dict) and all(isinstance(each, dict) for each in found.values())
