"""Events: what happened to a record, in the past tense, told once and counted when it repeats.

Pure: bodies and names only. Equal events have one name, so that even a restarted control plane
counts on. engine/recorder.py writes them, and never fails a pass for it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from controlplane.clock import parse_time
from controlplane.records import Stored
from resources.text import moment

KIND: Final = "Event"
TTL_S: Final = 3600.0
"""As long as Kubernetes keeps its events (kube-apiserver --event-ttl)."""
CLUSTER_NAMESPACE: Final = "default"
"""Where Kubernetes puts the events of cluster-scoped objects."""
COMPONENT: Final = "bunker-agent"
_MAX_COUNT: Final = 2**31 - 1
"""Clients read it as an int32."""
Severity = Literal["Normal", "Warning"]


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that happened to one record."""

    kind: str
    api_version: str
    namespace: str
    name: str
    uid: str
    severity: Severity
    reason: str
    message: str

    @property
    def event_namespace(self) -> str:
        return self.namespace or CLUSTER_NAMESPACE

    @property
    def event_name(self) -> str:
        """Equal happenings have equal names: the correlator key."""
        parts = (self.kind, self.uid, self.severity, self.reason, self.message)
        return f"{self.name}.{hashlib.sha256('|'.join(parts).encode()).hexdigest()[:16]}"


def happened(stored: Stored, severity: Severity, reason: str, message: str) -> Happening:
    """`message`: past tense, one line, no secret, the same words for the same thing."""
    return Happening(
        kind=stored.key.kind,
        api_version=str(stored.obj.get("apiVersion", "")),
        namespace=stored.key.namespace,
        name=stored.key.name,
        uid=stored.uid,
        severity=severity,
        reason=reason,
        message=message[:1024],
    )


def body(
    what: Happening, *, count: int, first: str, last: str, component: str = COMPONENT
) -> dict[str, Any]:
    """The core/v1 Event, as `kubectl describe` and `kubectl events` read it."""
    return {
        "apiVersion": "v1",
        "kind": KIND,
        "metadata": {"name": what.event_name, "namespace": what.event_namespace},
        "involvedObject": {
            "apiVersion": what.api_version,
            "kind": what.kind,
            "namespace": what.namespace,
            "name": what.name,
            "uid": what.uid,
        },
        "type": what.severity,
        "reason": what.reason,
        "message": what.message,
        "count": count,
        "firstTimestamp": first,
        "lastTimestamp": last,
        "source": {"component": component},
        "reportingComponent": component,
        "reportingInstance": component,
    }


def counted(
    what: Happening, had: Mapping[str, Any], *, more: int, last: str, component: str = COMPONENT
) -> dict[str, Any]:
    """What was told before, `more` times again. Whoever may write Events can work out its name
    and have made one that says something else, so all is said anew: of what is there, only how
    often and since when is believed, where it can be so."""
    count = _times(had.get("count")) + more
    if count > _MAX_COUNT:
        count = more
    obj = body(
        what,
        count=count,
        first=_since(had.get("firstTimestamp"), last),
        last=last,
        component=component,
    )
    if finalizers := had["metadata"].get("finalizers"):
        # without them one that is being deleted would go at once
        obj["metadata"]["finalizers"] = finalizers
    return obj


def _times(told: object) -> int:
    return told if isinstance(told, int) and told > 0 else 0


def _since(told: object, last: str) -> str:
    now = parse_time(last)
    try:
        when = parse_time(moment(told)) if isinstance(told, str) else None
    except ValueError:
        when = None
    return str(told) if when is not None and now is not None and when <= now else last
