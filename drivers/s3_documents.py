"""What S3 writes down: policies, lifecycle and CORS rules; compared by meaning, not by spelling.

Pure. Forms: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html,
https://docs.aws.amazon.com/AmazonS3/latest/API/API_LifecycleRule.html, .../API_CORSRule.html
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

_LISTS: Final = ("Action", "NotAction", "Resource", "NotResource")
_PRINCIPALS: Final = ("Principal", "NotPrincipal")


@dataclass(frozen=True, slots=True, order=True)
class LifecycleRule:
    """One rule; times in days, 0: not said."""

    id: str
    prefix: str = ""
    expire_days: int = 0
    noncurrent_days: int = 0
    abort_upload_days: int = 0
    enabled: bool = True
    foreign: str = ""
    """What it says beyond that, as JSON: a rule that somebody else wrote."""


@dataclass(frozen=True, slots=True, order=True)
class CorsRule:
    """What a browser may do from pages of other origins."""

    origins: tuple[str, ...]
    methods: tuple[str, ...]
    headers: tuple[str, ...] = ()
    expose: tuple[str, ...] = ()
    max_age_s: int = 0


def canonical_policy(document: str | bytes | Mapping[str, Any]) -> str:
    """The same text for the same meaning: lists sorted, single values as lists, no white space.

    Servers rewrite what they are given (a list of one becomes a string, and the reverse). Raises
    ValueError for what is no policy.
    """
    policy = dict(document) if isinstance(document, Mapping) else orjson.loads(document)
    if not isinstance(policy, dict):
        raise ValueError("a policy is a JSON object")  # one error for callers
    statements = policy.get("Statement") or []
    if isinstance(statements, Mapping):
        statements = [statements]
    policy["Statement"] = sorted((_statement(each) for each in statements), key=_text)
    return _text(policy)


def _statement(given: Mapping[str, Any]) -> dict[str, Any]:
    made = {key: value for key, value in given.items() if value not in (None, "", {}, [])}
    for key in _LISTS:
        if key in made:
            made[key] = _sorted(made[key])
    for key in _PRINCIPALS:
        if key in made:
            named = made[key]
            whom = named if isinstance(named, Mapping) else {"AWS": named}
            made[key] = {kind: _sorted(names) for kind, names in whom.items()}
    if "Condition" in made:
        made["Condition"] = {
            operator: {key: _sorted(values) for key, values in tests.items()}
            for operator, tests in made["Condition"].items()
        }
    return made


def _sorted(value: Any) -> list[str]:
    values = value if isinstance(value, list | tuple) else [value]
    return sorted({each if isinstance(each, str) else _text(each) for each in values})


def _text(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def policy_of(*statements: Mapping[str, Any]) -> str:
    """A canonical policy of these statements."""
    return canonical_policy({"Version": "2012-10-17", "Statement": list(statements)})


def lifecycle_to_wire(rules: Iterable[LifecycleRule]) -> list[dict[str, Any]]:
    """As the API takes them."""
    return [_rule(rule) for rule in rules]


def _rule(rule: LifecycleRule) -> dict[str, Any]:
    made: dict[str, Any] = {
        "ID": rule.id,
        "Status": "Enabled" if rule.enabled else "Disabled",
        "Filter": {"Prefix": rule.prefix},
    }
    if rule.expire_days:
        made["Expiration"] = {"Days": rule.expire_days}
    if rule.noncurrent_days:
        made["NoncurrentVersionExpiration"] = {"NoncurrentDays": rule.noncurrent_days}
    if rule.abort_upload_days:
        made["AbortIncompleteMultipartUpload"] = {"DaysAfterInitiation": rule.abort_upload_days}
    return made


def lifecycle_from_wire(rules: Iterable[Mapping[str, Any]]) -> tuple[LifecycleRule, ...]:
    """What a server has; what we would never write is kept as `foreign`, so that it differs."""
    return tuple(sorted(_read_rule(rule) for rule in rules))


def _read_rule(rule: Mapping[str, Any]) -> LifecycleRule:
    where = dict(rule.get("Filter") or {})
    made = LifecycleRule(
        id=str(rule.get("ID", "")),
        prefix=str(where.get("Prefix", rule.get("Prefix", "")) or ""),
        expire_days=_number(rule, "Expiration", "Days"),
        noncurrent_days=_number(rule, "NoncurrentVersionExpiration", "NoncurrentDays"),
        abort_upload_days=_number(rule, "AbortIncompleteMultipartUpload", "DaysAfterInitiation"),
        enabled=rule.get("Status") == "Enabled",
    )
    known = {"Prefix": made.prefix, **_rule(made), "Filter": where or {"Prefix": made.prefix}}
    more = {k: v for k, v in rule.items() if k not in known or (v and v != known[k])}
    if set(where) - {"Prefix"}:
        more["Filter"] = where
    if not more:
        return made
    foreign = orjson.dumps(more, option=orjson.OPT_SORT_KEYS, default=str).decode()
    return LifecycleRule(made.id, made.prefix, made.expire_days, made.noncurrent_days,
                         made.abort_upload_days, made.enabled, foreign)  # fmt: skip


def _number(rule: Mapping[str, Any], part: str, key: str) -> int:
    return int((rule.get(part) or {}).get(key) or 0)


def cors_to_wire(rules: Iterable[CorsRule]) -> list[dict[str, Any]]:
    """As the API takes them."""
    return [
        {
            "AllowedOrigins": list(rule.origins),
            "AllowedMethods": list(rule.methods),
            **({"AllowedHeaders": list(rule.headers)} if rule.headers else {}),
            **({"ExposeHeaders": list(rule.expose)} if rule.expose else {}),
            **({"MaxAgeSeconds": rule.max_age_s} if rule.max_age_s else {}),
        }
        for rule in rules
    ]


def cors_from_wire(rules: Iterable[Mapping[str, Any]]) -> tuple[CorsRule, ...]:
    """What a server has, in its order: the first rule that fits counts."""
    return tuple(
        CorsRule(
            origins=tuple(rule.get("AllowedOrigins") or ()),
            methods=tuple(rule.get("AllowedMethods") or ()),
            headers=tuple(rule.get("AllowedHeaders") or ()),
            expose=tuple(rule.get("ExposeHeaders") or ()),
            max_age_s=int(rule.get("MaxAgeSeconds") or 0),
        )
        for rule in rules
    )
