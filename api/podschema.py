"""What Pods, Services and Deployments tell, for `kubectl explain` and OpenAPI. Data only.

Only what is shown here; Kubernetes' own kinds have far more fields
(https://kubernetes.io/docs/reference/kubernetes-api/). The kinds are read-only but for restarts,
and nothing is validated by it.
"""

from typing import Final

from api.metaschema import Schema


def _text(description: str, format_: str = "") -> Schema:
    found: Schema = {"type": "string", "description": description}
    return {**found, "format": format_} if format_ else found


def _time(description: str) -> Schema:
    return _text(f"{description} RFC 3339, UTC.", "date-time")


def _whole(description: str) -> Schema:
    return {"type": "integer", "format": "int32", "description": description}


def _flag(description: str) -> Schema:
    return {"type": "boolean", "description": description}


def _map(description: str) -> Schema:
    return {
        "type": "object",
        "additionalProperties": {"type": "string"},
        "description": description,
    }


def _object(description: str, **properties: Schema) -> Schema:
    return {"type": "object", "description": description, "properties": properties}


def _list(description: str, item: Schema) -> Schema:
    return {"type": "array", "description": description, "items": item}


_CONDITION: Final = _object(
    "One fact.",
    type=_text("Which: `Ready`, for example."),
    status=_text("`True`, `False` or `Unknown`."),
    reason=_text("Why, in a word."),
    message=_text("Why, for a person."),
    lastTransitionTime=_time("When `status` last changed."),
    lastUpdateTime=_time("When it was last observed to change."),
)
_ENDED: Final = _object(
    "It has ended.",
    exitCode=_whole("Exit code of its process."),
    reason=_text("`Completed`, `Error` or `OOMKilled`."),
    startedAt=_time("When that run began."),
    finishedAt=_time("When it ended."),
    containerID=_text("Which container, as `docker://ID`."),
)
_STATE: Final = _object(
    "What it does now: one of these.",
    running=_object("It runs.", startedAt=_time("Since when.")),
    waiting=_object(
        "It is about to run.",
        reason=_text("`ContainerCreating`, `CreateContainerError` or `CrashLoopBackOff`."),
        message=_text("What is known of the cause."),
    ),
    terminated=_ENDED,
)
_PORT: Final = _object(
    "One port.",
    containerPort=_whole("The port it listens on. Example: `8080`."),
    protocol=_text("Always `TCP`."),
)
_CONTAINER: Final = _object(
    "The container.",
    name=_text("The kind it belongs to, in lower case. Example: `app`."),
    image=_text("Image it runs. Example: `nginx:1.27`."),
    imagePullPolicy=_text("Always `IfNotPresent`."),
    ports=_list("Where its record says that it is reached.", _PORT),
    resources=_object(
        "What it may use.",
        limits=_map("CPU in millicores, memory in bytes. Example: `{cpu: 250m}`."),
        requests=_map("The same: what a record takes is kept for it."),
    ),
)
_CONTAINER_STATUS: Final = _object(
    "What was seen of the container.",
    name=_text("The container's name."),
    image=_text("Image it runs."),
    imageID=_text("That image's own id."),
    containerID=_text("Which container, as `docker://ID`."),
    ready=_flag("It runs, and its record is Ready."),
    started=_flag("It runs."),
    restartCount=_whole("How often the engine restarted it."),
    state=_STATE,
    lastState=_object("What the run before came to.", terminated=_ENDED),
)
_POD: Final = {
    "spec": _object(
        "What runs.",
        containers=_list("The container; there is one a Pod.", _CONTAINER),
        restartPolicy=_text("Always `Always`."),
        nodeName=_text("The host: `host`."),
        terminationGracePeriodSeconds=_whole("Seconds a container gets to end by itself."),
    ),
    "status": _object(
        "What was seen of it.",
        phase=_text("`Pending` until its first start, then `Running`."),
        conditions=_list("PodScheduled, Initialized, ContainersReady, Ready.", _CONDITION),
        containerStatuses=_list("The container.", _CONTAINER_STATUS),
        qosClass=_text("Always `Guaranteed`: limits are what is kept for it."),
        hostIP=_text("Address of the host, from the host."),
        startTime=_time("When it was last started."),
        podIP=_text("Its address on its namespace's network."),
        podIPs=_list("The same.", _object("An address.", ip=_text("The address."))),
    ),
}
_SERVICE: Final = {
    "spec": _object(
        "Where a record is reached.",
        type=_text("Always `ClusterIP`."),
        clusterIP=_text("Always `None`: its name leads to the containers themselves."),
        clusterIPs=_list("The same.", {"type": "string"}),
        selector=_map("Labels of the Pods behind it."),
        ports=_list(
            "The port.",
            _object(
                "One port.",
                name=_text("Always `main`."),
                port=_whole("The port to connect to. Example: `5432`."),
                targetPort={
                    "type": "string",
                    "format": "int-or-string",
                    "description": "The same port, of the container.",
                },
                protocol=_text("Always `TCP`."),
            ),
        ),
    ),
    "status": _object("Nothing.", loadBalancer=_object("There is none.")),
}
_TEMPLATE: Final = _object(
    "What its Pods look like.",
    metadata=_object(
        "Their metadata.",
        labels=_map("Their labels."),
        annotations=_map(
            "When a restart was last asked for, `kubectl.kubernetes.io/restartedAt`: the one thing "
            "that a patch may set. Default: none."
        ),
    ),
    spec=_object(
        "Their spec.",
        containers=_list(
            "The container.",
            _object("It.", name=_text("Its name."), image=_text("Image the record asks for.")),
        ),
    ),
)
_DEPLOYMENT: Final = {
    "spec": _object(
        "What a record with replicas asks for.",
        replicas=_whole("How many are wanted."),
        selector=_object("Its Pods.", matchLabels=_map("Their labels.")),
        strategy=_object("How they are exchanged.", type=_text("Always `RollingUpdate`.")),
        template=_TEMPLATE,
    ),
    "status": _object(
        "How far it is; `kubectl rollout status` waits on this.",
        observedGeneration=_whole("The generation of the record that this is of."),
        replicas=_whole("How many there are."),
        updatedReplicas=_whole("How many are as the record says now."),
        readyReplicas=_whole("How many serve."),
        availableReplicas=_whole("The same."),
        unavailableReplicas=_whole("How many of those wanted don't."),
        conditions=_list(
            "Available, and Progressing: `ProgressDeadlineExceeded` when only an edit helps.",
            _CONDITION,
        ),
    ),
}
PARTS: Final[dict[str, dict[str, Schema]]] = {
    "Pod": _POD,
    "Service": _SERVICE,
    "Deployment": _DEPLOYMENT,
}
"""Spec and status by kind."""
TOLD: Final = {
    "Pod": "A container that runs, as Kubernetes' tools look for it. Read-only: change its record.",
    "Service": "Where a record is reached. Read-only: change the record of the same name.",
    "Deployment": "A record's replicas. Read-only, but for `kubectl rollout restart`: change the "
    "record of the same name.",
}
