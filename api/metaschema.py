"""Published schemas of what all kinds share: ObjectMeta, lists, Status, options, Scale.

Names and fields are Kubernetes' own
(https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/), since clients look
them up by name; the descriptions say what this control plane does with each. Data only.
"""

from typing import Any, Final

Schema = dict[str, Any]

META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1"
OBJECT_META: Final = f"{META}.ObjectMeta"
LIST_META: Final = f"{META}.ListMeta"
STATUS: Final = f"{META}.Status"
DELETE_OPTIONS: Final = f"{META}.DeleteOptions"
PATCH: Final = f"{META}.Patch"
SCALE: Final = "io.k8s.api.autoscaling.v1.Scale"

API_VERSION: Final = {
    "type": "string",
    "description": "Group and version of this record's schema. Example: `bunker.cloud/v1`.",
}
KIND: Final = {"type": "string", "description": "What this record is. Example: `Database`."}


def ref(name: str) -> Schema:
    """A reference to a component, as v3 spells it."""
    return {"$ref": f"#/components/schemas/{name}"}


def all_of(name: str, description: str) -> Schema:
    """A reference with a description of its own, which a bare $ref can't have."""
    return {"allOf": [ref(name)], "description": description, "default": {}}


def _text(description: str, format_: str | None = None) -> Schema:
    found: Schema = {"type": "string", "description": description}
    return {**found, "format": format_} if format_ else found


def _whole(description: str) -> Schema:
    return {"type": "integer", "format": "int64", "description": description}


def _flag(description: str) -> Schema:
    return {"type": "boolean", "description": description}


def _map(description: str) -> Schema:
    return {
        "type": "object",
        "additionalProperties": {"type": "string"},
        "description": description,
    }


def _list(items: Schema, description: str, **extensions: Any) -> Schema:
    return {"type": "array", "items": items, "description": description, **extensions}


def _object(description: str, required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    found: Schema = {"type": "object", "description": description, "properties": properties}
    return {**found, "required": list(required)} if required else found


_OWNER: Final = f"{META}.OwnerReference"
_MANAGED: Final = f"{META}.ManagedFieldsEntry"
_CAUSE: Final = f"{META}.StatusCause"
_DETAILS: Final = f"{META}.StatusDetails"

SHARED: Final[dict[str, Schema]] = {
    OBJECT_META: _object(
        "What every record has: its name, its identity and its history.",
        annotations=_map(
            "Notes for tools and people, by key; never selected by. "
            "Example: `{bunker.cloud/note: kept for the audit}`."
        ),
        creationTimestamp=_text(
            "When the record was made, RFC 3339, UTC. Set by the server.", "date-time"
        ),
        deletionGracePeriodSeconds=_whole(
            "Seconds before a deletion takes effect; always 0 here. Set by the server."
        ),
        deletionTimestamp=_text(
            "When its deletion was asked for, RFC 3339, UTC; it goes away once `finalizers` is "
            "empty. Set by the server.",
            "date-time",
        ),
        finalizers=_list(
            {"type": "string"},
            "Who still has to clean up before the record may go. Default: none. "
            "Example: `[bunker.cloud/outside]`.",
            **{"x-kubernetes-list-type": "set", "x-kubernetes-patch-strategy": "merge"},
        ),
        generateName=_text(
            "Start of a name to which the server adds five random characters, when `name` is "
            "left out. Example: `job-`."
        ),
        generation=_whole("Counts changes of what is desired. Set by the server."),
        labels=_map("What the record is selected by, by key. Example: `{team: shop}`."),
        managedFields=_list(
            ref(_MANAGED),
            "Which manager owns which fields; written by the server.",
            **{"x-kubernetes-list-type": "atomic"},
        ),
        name=_text(
            "Name, unique in its namespace and kind; it becomes a host name, so a DNS label. "
            "May not change. Example: `shop-db`."
        ),
        namespace=_text(
            "The tenant project it belongs to. Default: the one of the URL. May not change. "
            "Example: `shop`."
        ),
        ownerReferences=_list(
            ref(_OWNER),
            "Records of the same namespace that it goes away with. Default: none.",
            **{
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["uid"],
                "x-kubernetes-patch-merge-key": "uid",
                "x-kubernetes-patch-strategy": "merge",
            },
        ),
        resourceVersion=_text(
            "Opaque version; sent back with a write, the write fails if the record has changed "
            "since. Set by the server."
        ),
        uid=_text("Identity that outlives no deletion, a UUID. Set by the server."),
    ),
    _OWNER: {
        **_object(
            "A record that this one goes away with.",
            ("apiVersion", "kind", "name", "uid"),
            apiVersion=_text("API version of the owner. Example: `bunker.cloud/v1`."),
            blockOwnerDeletion=_flag(
                "The owner waits for this record when it is deleted in the foreground. "
                "Default: false."
            ),
            controller=_flag("The owner manages this record. Default: false."),
            kind=_text("Kind of the owner. Example: `Database`."),
            name=_text("Name of the owner. Example: `shop-db`."),
            uid=_text("UID of the owner."),
        ),
        "x-kubernetes-map-type": "atomic",
    },
    _MANAGED: _object(
        "The fields that one manager owns, by one kind of operation.",
        apiVersion=_text("API version the fields were written in. Example: `bunker.cloud/v1`."),
        fieldsType=_text("How the fields are written down: always `FieldsV1`."),
        fieldsV1={
            "type": "object",
            "description": "The fields, as a tree of `f:name`, `k:{key}` and `v:value`.",
            "x-kubernetes-preserve-unknown-fields": True,
        },
        manager=_text("Who owns them. Example: `kubectl`."),
        operation=_text("How they were written: `Apply` or `Update`."),
        subresource=_text("Through which subresource. Example: `status`."),
        time=_text("When that last changed, RFC 3339, UTC.", "date-time"),
    ),
    LIST_META: {
        "type": "object",
        "description": "What every list has.",
        "properties": {
            "continue": _text("Sent back with the same query, it gives the next page."),
            "remainingItemCount": _whole("How many items follow, where it is known."),
            "resourceVersion": _text(
                "The version the list was read at; a watch goes on from here."
            ),
        },
    },
    STATUS: _object(
        "The outcome of a request that returns no record; always the body of a failure.",
        apiVersion=API_VERSION,
        code={"type": "integer", "format": "int32", "description": "The HTTP status code."},
        details={"allOf": [ref(_DETAILS)], "description": "What it is about, for programs."},
        kind=KIND,
        message=_text("What happened, for a person."),
        metadata=all_of(LIST_META, "Empty."),
        reason=_text("Why, in one word. Example: `NotFound`."),
        status=_text("`Success` or `Failure`."),
    ),
    _DETAILS: _object(
        "What a Status is about.",
        causes=_list(
            ref(_CAUSE),
            "Each thing that was wrong.",
            **{"x-kubernetes-list-type": "atomic"},
        ),
        group=_text("API group of the record."),
        kind=_text("Plural name of the record's kind; the kind itself for an invalid record."),
        name=_text("Name of the record."),
        retryAfterSeconds={
            "type": "integer",
            "format": "int32",
            "description": "Seconds to wait before trying again.",
        },
        uid=_text("UID of the record."),
    ),
    _CAUSE: _object(
        "One thing that was wrong.",
        field=_text("The field, as a dotted path. Example: `spec.engine`."),
        message=_text("What is wrong, and the fix."),
        reason=_text("Why, in one word. Example: `FieldValueInvalid`."),
    ),
    DELETE_OPTIONS: _object(
        "How to delete.",
        apiVersion=API_VERSION,
        dryRun=_list(
            {"type": "string"},
            "`[All]`: check everything, change nothing.",
            **{"x-kubernetes-list-type": "atomic"},
        ),
        gracePeriodSeconds=_whole("Accepted and ignored: deletion starts at once."),
        kind=KIND,
        orphanDependents=_flag(
            "True: as `propagationPolicy: Orphan`, beside which it may not be. Default: false."
        ),
        preconditions={
            "allOf": [ref(f"{META}.Preconditions")],
            "description": "What must hold, else 409.",
        },
        propagationPolicy=_text(
            "What becomes of owned records: `Background`, `Foreground` or `Orphan`. "
            "Default: `Background`."
        ),
    ),
    f"{META}.Preconditions": _object(
        "What must hold of a record for it to be deleted.",
        resourceVersion=_text("The resourceVersion it must have."),
        uid=_text("The UID it must have."),
    ),
    PATCH: {
        "type": "object",
        "description": "A change of a record, in the form its content type says.",
    },
    SCALE: {
        **_object(
            "How many of something there are and should be.",
            apiVersion=API_VERSION,
            kind=KIND,
            metadata=all_of(OBJECT_META, "Name, namespace and versions of the scaled record."),
            spec=_object(
                "What is desired.",
                replicas={
                    "type": "integer",
                    "format": "int32",
                    "description": "How many there should be. Example: `3`.",
                },
            ),
            status=_object(
                "What is so.",
                ("replicas",),
                replicas={
                    "type": "integer",
                    "format": "int32",
                    "description": "How many there are.",
                },
                selector=_text("Label selector of what is counted."),
            ),
        ),
        "x-kubernetes-group-version-kind": [
            {"group": "autoscaling", "version": "v1", "kind": "Scale"}
        ],
    },
}
