"""Discovery documents: which resources there are, in every form clients ask for.

Aggregated (apidiscovery.k8s.io v2 and v2beta1) and legacy, built from the kinds alone. Pure:
discovery.py answers with them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from api.builtin import SUBRESOURCES
from api.documents import Document, document
from resources.meta import KindInfo

_SCALE: Final = {"group": "autoscaling", "version": "v1", "kind": "Scale"}
_SUBRESOURCE_VERBS: Final = ("get", "patch", "update")


def group_versions(kinds: Iterable[KindInfo]) -> tuple[tuple[str, str], ...]:
    """(group, version) of every kind, core first, in the order the kinds are listed."""
    found = dict.fromkeys((info.group, info.version) for info in kinds)
    return tuple(sorted(found, key=lambda pair: pair[0] != ""))


def aggregated(kinds: Sequence[KindInfo], version: str, *, core: bool) -> Document:
    """An APIGroupDiscoveryList of the core group (/api) or of all others (/apis)."""
    groups = [pair for pair in group_versions(kinds) if (pair[0] == "") is core]
    value = {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": [
            {
                "metadata": {"name": group, "creationTimestamp": None},
                "versions": [
                    {
                        "version": group_version,
                        "freshness": "Current",
                        "resources": [
                            _aggregated_resource(info)
                            for info in kinds
                            if (info.group, info.version) == (group, group_version)
                        ],
                    }
                ],
            }
            for group, group_version in groups
        ],
    }
    media = f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
    return document(value, media)


def _aggregated_resource(info: KindInfo) -> dict[str, Any]:
    found: dict[str, Any] = {
        "resource": info.plural,
        "responseKind": _gvk(info),
        "scope": "Namespaced" if info.namespaced else "Cluster",
        "singularResource": info.singular,
        "verbs": list(info.verbs),
    }
    if info.short_names:
        found["shortNames"] = list(info.short_names)
    if info.categories:
        found["categories"] = list(info.categories)
    subresources = [
        {
            "subresource": name,
            "responseKind": kind,
            "verbs": list(verbs),
        }
        for name, kind, verbs in subresources_of(info)
    ]
    if subresources:
        found["subresources"] = subresources
    return found


def _gvk(info: KindInfo) -> dict[str, str]:
    return {"group": info.group, "version": info.version, "kind": info.kind}


def subresources_of(
    info: KindInfo,
) -> tuple[tuple[str, Mapping[str, str], tuple[str, ...]], ...]:
    """(name, what it takes, verbs) of each subresource."""
    found: list[tuple[str, Mapping[str, str], tuple[str, ...]]] = []
    if info.has_status:
        found.append(("status", _gvk(info), _SUBRESOURCE_VERBS))
    if info.scalable:
        found.append(("scale", _SCALE, _SUBRESOURCE_VERBS))
    if info.kind == "Namespace":
        found.append(("finalize", _gvk(info), ("update",)))
    for name, kind, verbs in SUBRESOURCES.get(info.kind, ()):
        found.append((name, {**_gvk(info), "kind": kind}, verbs))
    return tuple(found)


def api_versions() -> Document:
    """Legacy /api."""
    return document({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})


def api_group_list(kinds: Iterable[KindInfo]) -> Document:
    """Legacy /apis."""
    groups = [_api_group(group, version) for group, version in group_versions(kinds) if group]
    return document({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})


def api_group(group: str, version: str) -> Document:
    """Legacy /apis/{group}."""
    return document({"kind": "APIGroup", "apiVersion": "v1", **_api_group(group, version)})


def _api_group(group: str, version: str) -> dict[str, Any]:
    one = {"groupVersion": f"{group}/{version}", "version": version}
    return {"name": group, "versions": [one], "preferredVersion": one}


def api_resource_list(kinds: Iterable[KindInfo], group: str, version: str) -> Document:
    """Legacy /api/v1 and /apis/{group}/{version}."""
    rows: list[dict[str, Any]] = []
    for info in kinds:
        if (info.group, info.version) == (group, version):
            rows += _legacy_rows(info)
    group_version = f"{group}/{version}" if group else version
    return document(
        {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": group_version,
            "resources": rows,
        }
    )


def _legacy_rows(info: KindInfo) -> list[dict[str, Any]]:
    row: dict[str, Any] = {
        "name": info.plural,
        "singularName": info.singular,
        "namespaced": info.namespaced,
        "kind": info.kind,
        "verbs": list(info.verbs),
    }
    if info.short_names:
        row["shortNames"] = list(info.short_names)
    if info.categories:
        row["categories"] = list(info.categories)
    rows = [row]
    for name, kind, verbs in subresources_of(info):
        rows.append(
            {
                "name": f"{info.plural}/{name}",
                "singularName": "",
                "namespaced": info.namespaced,
                **(kind if kind is _SCALE else {"kind": kind["kind"]}),
                "verbs": list(verbs),
            }
        )
    return rows
