"""Policies and rules compared by meaning, whatever a server makes of their spelling."""

from typing import Any

import pytest

from drivers.s3_documents import (
    CorsRule,
    LifecycleRule,
    canonical_policy,
    cors_from_wire,
    cors_to_wire,
    lifecycle_from_wire,
    lifecycle_to_wire,
)

ONE = {"Effect": "Allow", "Principal": {"AWS": ["*"]}, "Action": ["a", "b"], "Resource": ["r"]}


def document(*statements: Any) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


@pytest.mark.parametrize(
    "same",
    [
        {**ONE, "Principal": "*"},
        {**ONE, "Principal": {"AWS": "*"}},
        {**ONE, "Action": ["b", "a"]},
        {**ONE, "Action": ["b", "a", "a"]},
        {**ONE, "Resource": "r"},
        {**ONE, "Sid": ""},
    ],
)
def test_another_spelling_is_the_same(same: dict[str, Any]) -> None:
    assert canonical_policy(document(same)) == canonical_policy(document(ONE))


@pytest.mark.parametrize(
    "other",
    [
        {**ONE, "Effect": "Deny"},
        {**ONE, "Action": "a"},
        {**ONE, "Principal": {"AWS": ["x"]}},
        {**ONE, "NotAction": "c"},
        {**ONE, "Condition": {"Bool": {"x": "true"}}},
    ],
)
def test_another_meaning_is_another(other: dict[str, Any]) -> None:
    assert canonical_policy(document(other)) != canonical_policy(document(ONE))


def test_order_of_statements_and_conditions_means_nothing() -> None:
    two = {**ONE, "Effect": "Deny", "Condition": {"StringLike": {"s3:prefix": ["b", "a"]}}}
    turned = {**two, "Condition": {"StringLike": {"s3:prefix": ["a", "b"]}}}
    assert canonical_policy(document(ONE, two)) == canonical_policy(document(turned, ONE))
    assert canonical_policy({"Version": "2012-10-17", "Statement": ONE}) == canonical_policy(
        document(ONE)
    )


@pytest.mark.parametrize("text", ["", "nonsense", "[]", "1"])
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        canonical_policy(text)


def test_rules_come_back_as_they_went() -> None:
    rules = (
        LifecycleRule("a", "x/", expire_days=1),
        LifecycleRule("b", noncurrent_days=2, abort_upload_days=3, enabled=False),
    )
    assert lifecycle_from_wire(lifecycle_to_wire(rules)) == rules
    cors = (CorsRule(("b", "a"), ("PUT", "GET"), ("*",), ("ETag",), 5), CorsRule(("*",), ("GET",)))
    assert cors_from_wire(cors_to_wire(cors)) == cors


@pytest.mark.parametrize(
    "more",
    [
        {"Expiration": {"Date": "2030-01-01"}},
        {"Filter": {"Tag": {"Key": "a", "Value": "b"}}},
        {"Transitions": [{"Days": 1, "StorageClass": "COLD"}]},
        {"NoncurrentVersionExpiration": {"NoncurrentDays": 2, "NewerNoncurrentVersions": 3}},
    ],
)
def test_a_rule_that_somebody_else_wrote_differs_from_all_of_ours(more: dict[str, Any]) -> None:
    (found,) = lifecycle_from_wire([{"ID": "a", "Status": "Enabled", **more}])
    assert found.foreign


def test_the_old_form_of_a_prefix_is_read() -> None:
    old = {"ID": "a", "Status": "Enabled", "Prefix": "x/", "Expiration": {"Days": 1}}
    assert lifecycle_from_wire([old]) == (LifecycleRule("a", "x/", expire_days=1),)
