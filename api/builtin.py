"""Kubernetes' own resources that clients look for here: served read-only, or as reviews.

They are descriptions only (KindInfo), so that discovery lists them and `kubectl get` and
`cluster-info` find something. Nothing of them is stored, and none can be written; a patch of a
Deployment is how clients ask for a restart (restarts.py).
"""

from collections.abc import Mapping
from typing import Final

from api.patch import MERGE_PATCH, STRATEGIC
from resources.columns import Column
from resources.meta import (
    KindInfo,
)

_READ: Final = ("get", "list", "watch")
_AGE: Final = Column("Age", ".metadata.creationTimestamp", "date")


def _review(kind: str, group: str) -> KindInfo:
    return KindInfo(
        kind=kind,
        plural=kind.lower() + "s",
        singular=kind.lower(),
        group=group,
        namespaced=kind == "LocalSubjectAccessReview",
        has_status=False,
        reconciled=False,
        verbs=("create",),
    )


AUTHENTICATION: Final = "authentication.k8s.io"
AUTHORIZATION: Final = "authorization.k8s.io"
REVIEWS: Final = (
    _review("SelfSubjectReview", AUTHENTICATION),
    _review("TokenReview", AUTHENTICATION),
    _review("SelfSubjectAccessReview", AUTHORIZATION),
    _review("SelfSubjectRulesReview", AUTHORIZATION),
)

CRD: Final = KindInfo(
    kind="CustomResourceDefinition",
    plural="customresourcedefinitions",
    singular="customresourcedefinition",
    group="apiextensions.k8s.io",
    short_names=("crd", "crds"),
    namespaced=False,
    columns=(Column("Created At", ".metadata.creationTimestamp"),),
    has_status=False,
    reconciled=False,
    verbs=_READ,
)
POD: Final = KindInfo(
    kind="Pod",
    plural="pods",
    singular="pod",
    group="",
    short_names=("po",),
    categories=("all",),
    has_status=False,
    reconciled=False,
    verbs=_READ,
    selectable_fields=("spec.nodeName", "spec.restartPolicy", "status.phase", "status.podIP"),
)
SERVICE: Final = KindInfo(
    kind="Service",
    plural="services",
    singular="service",
    group="",
    short_names=("svc",),
    categories=("all",),
    has_status=False,
    reconciled=False,
    verbs=_READ,
    selectable_fields=("spec.clusterIP", "spec.type"),
)
DEPLOYMENT: Final = KindInfo(
    kind="Deployment",
    plural="deployments",
    singular="deployment",
    group="apps",
    short_names=("deploy",),
    categories=("all",),
    has_status=False,
    reconciled=False,
    verbs=("get", "list", "patch", "watch"),
)
RESTART_PATCHES: Final = (STRATEGIC, MERGE_PATCH)
"""Patches of a Deployment that are understood: of a restart, the two say the same."""

DERIVED: Final = (POD, SERVICE, DEPLOYMENT)
"""Worked out from what runs and from records; the Pod's subresources are ways into what runs."""
READ_ONLY: Final = (*DERIVED, CRD)
"""Served by GET, but for restarts."""
SUBRESOURCES: Final[Mapping[str, tuple[tuple[str, str, tuple[str, ...]], ...]]] = {
    "Pod": (
        ("attach", "PodAttachOptions", ("create", "get")),
        ("exec", "PodExecOptions", ("create", "get")),
        ("log", "Pod", ("get",)),
        ("portforward", "PodPortForwardOptions", ("create", "get")),
    ),
}
"""(name, kind of what it takes, verbs) of each subresource, by kind."""
