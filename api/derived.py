"""Services and Deployments as Kubernetes' clients look for them, worked out from records. Pure.

A record that says where it is reached (status.endpoint, `name:port`) is a Service; a kind that can
be scaled is a Deployment. Nothing of them is stored: their versions are those of their records,
so that lists and watches are the records' own, translated.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID, uuid5

import orjson

from controlplane.records import Change, Held, Key, Stored, Subscription, Verb, View
from controlplane.store.shape import encode
from resources.meta import GROUP, RESTARTED_AT
from resources.network import port_of

SERVICE: Final = "Service"
DEPLOYMENT: Final = "Deployment"

_MAX_COUNT: Final = 2**31 - 1

Obj = Mapping[str, Any]
Render = Callable[[Stored, Obj], Mapping[str, Any] | None]


def service(stored: Stored, obj: Obj) -> Mapping[str, Any] | None:
    """The v1 Service of a record; None when it isn't reached under its name."""
    name = stored.key.name
    host, _, port = str((obj.get("status") or {}).get("endpoint") or "").rpartition(":")
    number = port_of(port)
    if host != name or number is None:
        return None
    return {
        "apiVersion": "v1",
        "kind": SERVICE,
        "metadata": _metadata(SERVICE, stored, obj),
        "spec": {
            "type": "ClusterIP",
            # none: names lead to the containers themselves, as Kubernetes' headless Services do
            "clusterIP": "None",
            "clusterIPs": ["None"],
            "selector": selector(stored.key),
            "ports": [
                {"name": "main", "port": number, "targetPort": number, "protocol": "TCP"},
            ],
        },
        "status": {"loadBalancer": {}},
    }


def deployment(stored: Stored, obj: Obj) -> Mapping[str, Any] | None:
    """The apps/v1 Deployment of a record that has replicas."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    wanted, ready = int(spec.get("replicas", 1)), _count(status, "readyReplicas")
    available = ready >= wanted
    labels = selector(stored.key)
    return {
        "apiVersion": "apps/v1",
        "kind": DEPLOYMENT,
        "metadata": _metadata(DEPLOYMENT, stored, obj) | {"generation": stored.generation},
        "spec": {
            "replicas": wanted,
            "selector": {"matchLabels": labels},
            "strategy": {"type": "RollingUpdate"},
            "template": {
                "metadata": {"labels": labels, **_annotations(spec)},
                "spec": {
                    "containers": [
                        {"name": stored.key.kind.lower(), "image": str(spec.get("image", ""))}
                    ],
                },
            },
        },
        "status": {
            "observedGeneration": _count(status, "observedGeneration"),
            "replicas": _count(status, "replicas"),
            "updatedReplicas": _count(status, "updatedReplicas"),
            "readyReplicas": ready,
            "availableReplicas": ready,
            "unavailableReplicas": max(0, wanted - ready),
            "conditions": [_available(status, available=available), *_progressing(status)],
        },
    }


def _count(status: Obj, name: str) -> int:
    """A number that clients read as an int32, and fail the whole list over a larger one; 0 in
    place of what is none: an operator may write any, as text as well."""
    try:
        found = int(status.get(name) or 0)
    except ValueError:
        return 0
    return found if 0 <= found <= _MAX_COUNT else 0


def _annotations(spec: Obj) -> dict[str, Any]:
    restarted = spec.get("restartedAt")
    return {"annotations": {RESTARTED_AT: restarted}} if restarted else {}


def selector(key: Key) -> dict[str, str]:
    """What selects the Pods of a record."""
    return {f"{GROUP}/kind": key.kind, f"{GROUP}/name": key.name}


def _metadata(kind: str, stored: Stored, obj: Obj) -> dict[str, Any]:
    meta = obj["metadata"]
    own = selector(stored.key) | {"app.kubernetes.io/name": stored.key.name}
    return {
        "name": stored.key.name,
        "namespace": stored.key.namespace,
        "uid": str(uuid5(UUID(stored.uid), kind)),
        "creationTimestamp": meta.get("creationTimestamp"),
        "labels": {**(meta.get("labels") or {}), **own},
        "ownerReferences": [
            {
                "apiVersion": obj.get("apiVersion", ""),
                "kind": stored.key.kind,
                "name": stored.key.name,
                "uid": stored.uid,
                "controller": True,
            }
        ],
    }


def _condition(status: Obj, type_: str) -> Obj:
    found: Sequence[Obj] = status.get("conditions") or ()
    return next((c for c in found if c.get("type") == type_), {})


def _available(status: Obj, *, available: bool) -> dict[str, Any]:
    ready = _condition(status, "Ready")
    return {
        "type": "Available",
        "status": "True" if available else "False",
        "reason": ready.get("reason", "Unknown"),
        "message": ready.get("message", ""),
        **_times(ready),
    }


def _progressing(status: Obj) -> list[dict[str, Any]]:
    """A record that only an edit helps is a rollout that failed: kubectl stops waiting then."""
    stalled = _condition(status, "Stalled")
    if not stalled:
        return []
    failed = stalled.get("status") == "True"
    return [
        {
            "type": "Progressing",
            "status": "False" if failed else "True",
            "reason": "ProgressDeadlineExceeded" if failed else "NewReplicaSetAvailable",
            "message": stalled.get("message", ""),
            **_times(stalled),
        }
    ]


def _times(condition: Obj) -> dict[str, Any]:
    when = condition.get("lastTransitionTime")
    return {"lastTransitionTime": when, "lastUpdateTime": when} if when else {}


def derive(stored: Stored, kind: str, render: Render) -> Stored | None:
    """What a record is seen as, at its own revision."""
    obj = render(stored, orjson.loads(stored.body))
    if obj is None:
        return None
    key = Key(kind, stored.key.namespace, stored.key.name)
    return Stored(key, obj["metadata"]["uid"], stored.revision, stored.generation, encode(obj))


@dataclass(frozen=True, slots=True)
class DerivedView:
    """One kind of objects, derived from the records of several kinds. Implements records.View."""

    records: View
    kind: str
    sources: tuple[str, ...]
    """Kinds of records, in the order in which they win a name."""
    render: Render

    @property
    def revision(self) -> int:
        return self.records.revision

    def get(self, key: Key, /) -> Stored | None:
        for kind in self.sources:
            stored = self.records.get(Key(kind, key.namespace, key.name))
            found = None if stored is None else self.derive(stored)
            if found is not None:
                return found
        return None

    def list(self, kind: str, namespace: str | None = None, /) -> Sequence[Stored]:
        del kind
        found: dict[Key, Stored] = {}
        for source in self.sources:
            for stored in self.records.list(source, namespace):
                derived = self.derive(stored)
                if derived is not None:
                    found.setdefault(derived.key, derived)
        return [found[key] for key in sorted(found)]

    def held(self, namespace: str, /) -> Held:
        return self.records.held(namespace)

    def namespaces(self, kind: str, /) -> Sequence[str]:
        return sorted({each.key.namespace for each in self.list(kind)})

    def owned_by(self, uid: str, /) -> Sequence[Stored]:
        return tuple(d for s in self.records.owned_by(uid) if (d := self.derive(s)) is not None)

    def watch(self, kinds: frozenset[str] | None, since: int, /) -> Subscription:
        del kinds
        return _Derived(self.records.watch(frozenset(self.sources), since), self)

    async def wait_for(self, revision: int, /, *, timeout_s: float) -> None:
        await self.records.wait_for(revision, timeout_s=timeout_s)

    def other(self, key: Key) -> tuple[Stored, bool] | None:
        """What a record of another kind and the same name is seen as, and whether that one wins
        the name from `key`."""
        for kind in self.sources:
            if kind == key.kind:
                continue
            stored = self.records.get(Key(kind, key.namespace, key.name))
            if stored is not None and (found := self.derive(stored)) is not None:
                return found, self.sources.index(kind) < self.sources.index(key.kind)
        return None

    def derive(self, stored: Stored) -> Stored | None:
        """What a record is seen as, at its own revision."""
        return derive(stored, self.kind, self.render)


@dataclass(slots=True)
class _Derived:
    """A watch of records, as one of what is derived from them."""

    records: Subscription
    view: DerivedView

    def __aiter__(self) -> AsyncIterator[Change]:
        return self

    async def __anext__(self) -> Change:
        while True:
            found = self._translated(await anext(self.records))
            if found is not None:
                return found

    @property
    def position(self) -> int:
        return self.records.position

    def close(self) -> None:
        self.records.close()

    def _translated(self, change: Change) -> Change | None:
        after = None if change.verb == "delete" else self.view.derive(change.after)
        before = None
        had = change.before if change.before is not None else None
        if had is None and change.verb == "delete":
            had = change.after
        if had is not None:
            before = self.view.derive(had)
        if after is None and before is None:
            return None
        if (other := self.view.other(change.after.key)) is not None:
            shown, wins = other
            if wins:
                return None
            # this one takes its place, or leaves it to that one: one object of that name remains
            shown = replace(shown, revision=change.revision)
            after, before = after or shown, before or shown
        if after is not None:
            if before is not None and before.body == after.body and not change.synthetic:
                return None
            verb: Verb = "create" if before is None else "update"
            return change._replace(verb=verb, after=after, before=before, memo={})
        assert before is not None
        gone = replace(before, revision=change.revision)
        return change._replace(verb="delete", after=gone, before=before, memo={})
