"""CustomResourceDefinitions of our kinds, read-only and worked out from the models.

Terraform, k9s and kube-state-metrics list them to learn schemas. Nothing here can be changed:
kinds come with a version of the control plane.
"""

import copy
import uuid
from typing import Any, Final

from api.served import Catalogue, Served
from resources.columns import Column
from resources.meta import (
    KindInfo,
)

_NAMESPACE: Final = uuid.UUID("6f1f9a1e-57a3-4be0-9a53-3d2b1f0c7a11")
CREATED: Final = "2026-01-01T00:00:00Z"
"""They have always been there; clients want a time, and the same one from every process."""


def definitions(catalogue: Catalogue) -> list[dict[str, Any]]:
    """One CustomResourceDefinition for each kind of ours, sorted by name."""
    found = [_definition(served) for served in catalogue if served.info.group]
    return sorted(found, key=lambda obj: str(obj["metadata"]["name"]))


def _definition(served: Served) -> dict[str, Any]:
    info = served.info
    name = f"{info.plural}.{info.group}"
    names = _names(info)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": name,
            "uid": str(uuid.uuid5(_NAMESPACE, name)),
            "resourceVersion": "1",
            "generation": 1,
            "creationTimestamp": CREATED,
        },
        "spec": {
            "group": info.group,
            "names": names,
            "scope": "Namespaced" if info.namespaced else "Cluster",
            "versions": [_version(served)],
            "conversion": {"strategy": "None"},
        },
        "status": {
            "acceptedNames": names,
            "storedVersions": [info.version],
            "conditions": [
                {
                    "type": type_,
                    "status": "True",
                    "reason": reason,
                    "message": message,
                    "lastTransitionTime": CREATED,
                }
                for type_, reason, message in (
                    ("NamesAccepted", "NoConflicts", "no conflicts found"),
                    ("Established", "InitialNamesAccepted", "the kind is served"),
                )
            ],
        },
    }


def _names(info: KindInfo) -> dict[str, Any]:
    found: dict[str, Any] = {
        "plural": info.plural,
        "singular": info.singular,
        "kind": info.kind,
        "listKind": f"{info.kind}List",
    }
    if info.short_names:
        found["shortNames"] = list(info.short_names)
    if info.categories:
        found["categories"] = list(info.categories)
    return found


def _version(served: Served) -> dict[str, Any]:
    info = served.info
    schema = copy.deepcopy(served.schema)
    # a structural schema says nothing of ObjectMeta: the server does
    schema["properties"]["metadata"] = {"type": "object"}
    found: dict[str, Any] = {
        "name": info.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "additionalPrinterColumns": [_column(column) for column in info.columns],
    }
    subresources: dict[str, Any] = {}
    if info.has_status:
        subresources["status"] = {}
    if info.scalable:
        subresources["scale"] = {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
        }
    return {**found, "subresources": subresources} if subresources else found


def _column(column: Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "type": "string" if column.type == "quantity" else column.type,
        "jsonPath": column.path,
        "description": column.description,
        "priority": column.priority,
    }
