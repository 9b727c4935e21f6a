"""The cells of `kubectl get pods`, services and deployments: kubectl's own columns and words.

As k8s.io/kubernetes/pkg/printers/internalversion prints them, as far as there is something to say.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from api.ages import age

Obj = Mapping[str, Any]
NONE: Final = "<none>"


def _statuses(pod: Obj) -> Sequence[Obj]:
    found: Sequence[Obj] = pod["status"].get("containerStatuses") or ()
    return found


def ready(pod: Obj) -> str:
    """`1/1`."""
    statuses = _statuses(pod)
    return f"{sum(bool(s.get('ready')) for s in statuses)}/{len(pod['spec']['containers'])}"


def status(pod: Obj) -> str:
    """Why it does not run, or that it does."""
    if pod["metadata"].get("deletionTimestamp"):
        return "Terminating"
    for each in _statuses(pod):
        state = each.get("state") or {}
        for waits in (state.get("waiting"), state.get("terminated")):
            if waits and waits.get("reason"):
                return str(waits["reason"])
    return str(pod["status"].get("phase", ""))


def restarts(pod: Obj, now: datetime) -> str:
    """`3 (5m ago)`."""
    statuses = _statuses(pod)
    count = sum(int(s.get("restartCount") or 0) for s in statuses)
    last = [
        ((s.get("lastState") or {}).get("terminated") or {}).get("finishedAt") for s in statuses
    ]
    when = max((moment for moment in last if moment), default="")
    return f"{count} ({age(when, now)} ago)" if count and when else str(count)


def address(pod: Obj) -> str:
    return str(pod["status"].get("podIP") or NONE)


def node(pod: Obj) -> str:
    return str(pod["spec"].get("nodeName") or NONE)


def ports(service: Obj) -> str:
    """`5432/TCP`."""
    found = service["spec"].get("ports") or ()
    return ",".join(f"{port['port']}/{port['protocol']}" for port in found) or NONE


def selector(service: Obj) -> str:
    found = service["spec"].get("selector") or {}
    return ",".join(f"{key}={value}" for key, value in found.items()) or NONE


def replicas_ready(deployment: Obj) -> str:
    """`2/3`."""
    wanted = deployment["spec"].get("replicas", 0)
    return f"{deployment['status'].get('readyReplicas', 0)}/{wanted}"


def containers(deployment: Obj, field: str) -> str:
    found = deployment["spec"]["template"]["spec"]["containers"]
    return ",".join(str(each[field]) for each in found)


def match_labels(deployment: Obj) -> str:
    found = deployment["spec"]["selector"]["matchLabels"]
    return ",".join(f"{key}={value}" for key, value in found.items())
