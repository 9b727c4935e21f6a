"""What a container looks like as a Kubernetes Pod. Pure.

Read-only, so that `kubectl get pods`, `logs`, `exec`, `wait` and their like find what they expect
(https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/). Nothing secret is
in it: no environment, no mounts. One container a Pod; a restarted container is the same Pod, a
replaced one is another.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID, uuid5

import orjson

from controlplane.records import Key, Stored
from controlplane.store.shape import encode
from drivers.containers import (
    LABEL_CONTAINER,
    LABEL_PREFIX,
    LABEL_RESTARTED,
    LABEL_SLOT,
    ContainerState,
    Owner,
)
from resources.meta import API_VERSION, RESTARTED_AT
from resources.network import port_of

POD: Final = "Pod"
NODE: Final = "host"
"""Name of the Host record, which is the only node there is."""
_SPACE: Final = UUID("5b8d6a0e-4b53-4a58-9f0e-6f1c2f1b7a51")
"""Name space of Pod uids: a constant of ours, drawn once."""
_APP: Final = "app.kubernetes.io/"
_MAX_RESTARTS_REASON: Final = "CrashLoopBackOff"

Obj = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Facts:
    """What of its record a Pod tells."""

    ready: bool = False
    since: str = ""
    """When that last changed, RFC 3339."""
    ports: tuple[int, ...] = ()


def facts_of(stored: Stored | None) -> Facts:
    """From the record behind a container; nothing is ready without one."""
    if stored is None:
        return Facts()
    # parsed for the moment: Stored.obj would stay in memory as long as the record does
    status = orjson.loads(stored.body).get("status") or {}
    ready: Obj = next((c for c in status.get("conditions") or () if c["type"] == "Ready"), {})
    # an operator may write any text there
    port = port_of(str(status.get("endpoint") or "").rpartition(":")[2])
    return Facts(
        ready=ready.get("status") == "True",
        since=ready.get("lastTransitionTime", ""),
        ports=() if port is None else (port,),
    )


def pod_uid(container_id: str) -> str:
    return str(uuid5(_SPACE, container_id))


def pod_name(state: ContainerState) -> str:
    """`app-shop-0`: the name its container was made under, without namespace and uid, which a
    Pod has beside its name."""
    owner = state.owner
    made_as = state.labels.get(LABEL_CONTAINER, state.name)
    if owner is None:
        return made_as
    short = f"{owner.kind.lower()}-{owner.name}"
    _, found, rest = made_as.partition(f"-{owner.uid[:8]}")
    return short + rest if found else made_as


def pods_of(states: tuple[ContainerState, ...], facts: Facts) -> dict[Key, Stored]:
    """The Pods of one record's containers. Of two made under one name (somebody renamed the
    first), the newer one is shown."""
    found: dict[Key, Stored] = {}
    for state in sorted(states, key=lambda each: (each.created_at, each.id)):
        if state.owner is None or not state.owner.namespace:
            continue
        key = Key(POD, state.owner.namespace, pod_name(state))
        body = encode(pod(state, state.owner, facts))
        found[key] = Stored(key, pod_uid(state.id), 0, 1, body)
    return found


def pod(state: ContainerState, owner: Owner, facts: Facts) -> dict[str, Any]:
    """The v1 Pod, without a resourceVersion."""
    ready = state.running and not state.paused and facts.ready
    return {
        "apiVersion": "v1",
        "kind": POD,
        "metadata": _metadata(state, owner),
        "spec": {
            "containers": [_container(owner.kind.lower(), state, facts)],
            "restartPolicy": "Always",
            "nodeName": NODE,
            "terminationGracePeriodSeconds": 10,
        },
        "status": _pod_status(owner.kind.lower(), state, facts, ready=ready),
    }


def _metadata(state: ContainerState, owner: Owner) -> dict[str, Any]:
    return {
        "name": pod_name(state),
        "namespace": owner.namespace,
        "uid": pod_uid(state.id),
        "creationTimestamp": _moment(state.created_at),
        "labels": _labels(state, owner),
        "annotations": _annotations(state),
        "ownerReferences": [
            {
                "apiVersion": API_VERSION,
                "kind": owner.kind,
                "name": owner.name,
                "uid": owner.uid,
                "controller": True,
            }
        ],
    }


def _pod_status(name: str, state: ContainerState, facts: Facts, *, ready: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "phase": "Running" if state.started_at else "Pending",
        "conditions": _conditions(state, facts, ready=ready),
        "containerStatuses": [_status(name, state, ready=ready)],
        "qosClass": "Guaranteed",
    }
    if state.started_at:
        found |= {"hostIP": "127.0.0.1", "startTime": _moment(state.started_at)}
    if address := next((a for a in state.networks.values() if a), ""):
        found |= {"podIP": address, "podIPs": [{"ip": address}]}
    return found


def _annotations(state: ContainerState) -> dict[str, str]:
    restarted = state.labels.get(LABEL_RESTARTED)
    told = {RESTARTED_AT: restarted} if restarted else {}
    return {LABEL_PREFIX + "container": state.name, **told}


def _labels(state: ContainerState, owner: Owner) -> dict[str, str]:
    labels = {
        _APP + "name": owner.name,
        _APP + "component": owner.kind.lower(),
        _APP + "managed-by": "bunker-cloud",
        LABEL_PREFIX + "kind": owner.kind,
        LABEL_PREFIX + "name": owner.name,
        LABEL_PREFIX + "uid": owner.uid,
    }
    if slot := state.labels.get(LABEL_SLOT):
        labels[LABEL_SLOT] = slot
    return labels


def _container(name: str, state: ContainerState, facts: Facts) -> dict[str, Any]:
    size = {
        "cpu": f"{state.limits.cpu_millicores}m",
        "memory": str(state.limits.memory_bytes),
    }
    found: dict[str, Any] = {
        "name": name,
        "image": state.image,
        "imagePullPolicy": "IfNotPresent",
        "resources": {"limits": size, "requests": size},
    }
    if facts.ports:
        found["ports"] = [{"containerPort": port, "protocol": "TCP"} for port in facts.ports]
    return found


def _status(name: str, state: ContainerState, *, ready: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": name,
        "image": state.image,
        "imageID": state.image_id,
        "containerID": f"docker://{state.id}",
        "ready": ready,
        "started": state.running,
        "restartCount": state.restart_count,
        "state": _state(state),
    }
    if state.restart_count and state.finished_at:
        found["lastState"] = {"terminated": _terminated(state)}
    return found


def _state(state: ContainerState) -> dict[str, Any]:
    if state.running:
        return {"running": {"startedAt": _moment(state.started_at)}}
    if state.restarting:
        message = f"exit code {state.exit_code}; the engine restarts it"
        return {"waiting": {"reason": _MAX_RESTARTS_REASON, "message": message}}
    if not state.started_at:
        reason = "CreateContainerError" if state.error else "ContainerCreating"
        return {"waiting": {"reason": reason, "message": state.error}}
    return {"terminated": _terminated(state)}


def _terminated(state: ContainerState) -> dict[str, Any]:
    reason = "Completed" if state.exit_code == 0 else "Error"
    return {
        # the engine forgets the code of an earlier run once it starts again
        "exitCode": state.exit_code,
        "reason": "OOMKilled" if state.oom_killed else reason,
        "startedAt": None if state.running else _moment(state.started_at),
        "finishedAt": _moment(state.finished_at),
        "containerID": f"docker://{state.id}",
    }


def _conditions(state: ContainerState, facts: Facts, *, ready: bool) -> list[dict[str, Any]]:
    created = _moment(state.created_at)
    # RFC 3339 in UTC sorts as text
    turned = max(created, _moment(state.started_at), _moment(state.finished_at), facts.since)
    told: dict[str, str] = {}
    if not ready:
        reason = "ContainersNotReady"
        message = "it is paused" if state.paused else "its record says why, in its conditions"
        told = {"reason": reason, "message": message}
    now = "True" if ready else "False"
    return [
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": created},
        {"type": "Initialized", "status": "True", "lastTransitionTime": created},
        {"type": "ContainersReady", "status": now, "lastTransitionTime": turned, **told},
        {"type": "Ready", "status": now, "lastTransitionTime": turned, **told},
    ]


def _moment(text: str) -> str:
    """The engine's nanoseconds as Kubernetes' whole seconds."""
    return f"{text[:19]}Z" if text else ""
