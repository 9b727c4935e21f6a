"""Discovery documents of the kinds we serve."""

from typing import Any

import orjson
import pytest

from api import groups
from api.builtin import READ_ONLY, REVIEWS
from resources.kinds import KIND_INFOS

KINDS = (*KIND_INFOS.values(), *READ_ONLY, *REVIEWS)


def test_aggregated_core_and_others_list_every_resource_once() -> None:
    found = [
        (group["metadata"]["name"], resource["resource"])
        for core in (True, False)
        for group in orjson.loads(groups.aggregated(KINDS, "v2", core=core).body)["items"]
        for resource in group["versions"][0]["resources"]
    ]
    assert sorted(found) == sorted((info.group, info.plural) for info in KINDS)


@pytest.mark.parametrize("version", ["v2", "v2beta1"])
def test_aggregated_says_in_its_content_type_what_it_is(version: str) -> None:
    found = groups.aggregated(KINDS, version, core=True)
    assert (
        found.content_type
        == f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
    )
    assert orjson.loads(found.body)["apiVersion"] == f"apidiscovery.k8s.io/{version}"


def test_aggregated_resource_has_what_kubectl_maps_names_by() -> None:
    (group,) = (
        group
        for group in orjson.loads(groups.aggregated(KINDS, "v2", core=False).body)["items"]
        if group["metadata"]["name"] == "bunker.cloud"
    )
    rows = {row["resource"]: row for row in group["versions"][0]["resources"]}
    assert rows["databases"]["responseKind"]["kind"] == "Database"
    assert rows["databases"]["scope"] == "Namespaced"
    assert rows["databases"]["shortNames"] == ["db"]
    assert [sub["subresource"] for sub in rows["databases"]["subresources"]] == ["status"]
    assert [sub["subresource"] for sub in rows["apps"]["subresources"]] == ["status", "scale"]
    assert rows["hosts"]["scope"] == "Cluster"


def test_legacy_resource_list_has_subresources_as_rows() -> None:
    listed: dict[str, Any] = orjson.loads(
        groups.api_resource_list(KINDS, "bunker.cloud", "v1").body
    )
    assert listed["groupVersion"] == "bunker.cloud/v1"
    rows = {row["name"]: row for row in listed["resources"]}
    assert rows["apps/scale"]["kind"] == "Scale"
    assert rows["apps/scale"]["group"] == "autoscaling"
    assert "databases/scale" not in rows


def test_legacy_group_list_leaves_core_out() -> None:
    listed = orjson.loads(groups.api_group_list(KINDS).body)
    names = {group["name"] for group in listed["groups"]}
    assert names == {
        "bunker.cloud",
        "apiextensions.k8s.io",
        "apps",
        "authentication.k8s.io",
        "authorization.k8s.io",
    }


def test_documents_are_the_same_every_time() -> None:
    first, second = (groups.aggregated(KINDS, "v2", core=True) for _ in range(2))
    assert first.etag == second.etag
