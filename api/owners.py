"""Who may say who owns a record: ownerReferences are a right of their own.

An owner's deletion takes its dependents with it, so a reference is a way to have a record deleted
later: it must lead to a record that is there, of the same namespace or of none, and whoever
writes it needs the right to `update` the kind's `ownerreferences`
(compare https://kubernetes.io/docs/concepts/architecture/garbage-collection/).
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from api import errors
from api.context import Call
from api.served import Served
from controlplane.access import OWNER_REFERENCES, Attempt, allowed
from controlplane.records import Key
from resources.meta import FieldError

_SAME: Final = ("apiVersion", "kind", "name", "uid")


def check_owners(
    call: Call, served: Served, before: Mapping[str, Any] | None, meta: Mapping[str, Any]
) -> None:
    """Judge the references of `meta` that `before`, the stored metadata, doesn't have.

    Raises StatusError 403 without the right, 422 naming each reference that leads nowhere.
    """
    old = list((before or {}).get("ownerReferences") or ())
    new = list(meta.get("ownerReferences") or ())
    if old == new:
        return
    _authorize(call, served, str(meta.get("name") or ""))
    known = {tuple(ref.get(part) for part in _SAME) for ref in old}
    wrong = [
        FieldError(f"metadata.ownerReferences[{place}].{field}", "FieldValueInvalid", why)
        for place, ref in enumerate(new)
        if tuple(ref.get(part) for part in _SAME) not in known
        for field, why in _faults(call, served, ref)
    ]
    if wrong:
        raise errors.invalid(served.info, str(meta.get("name") or ""), wrong)


def _authorize(call: Call, served: Served, name: str) -> None:
    info = served.info
    namespace = call.target.namespace or ""
    attempt = Attempt("update", info.group, info.plural, OWNER_REFERENCES, namespace, name)
    if not allowed(call.user, attempt):
        raise errors.forbidden(
            info,
            name,
            f'User "{call.user.name}" cannot write metadata.ownerReferences: it needs the right to '
            f'update resource "{info.plural}/{OWNER_REFERENCES}" in API group "{info.group}"',
        )


def _faults(call: Call, served: Served, ref: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(field, what is wrong and how to mend it), one at most."""
    version, kind, name = (str(ref.get(part) or "") for part in ("apiVersion", "kind", "name"))
    owner = call.ctx.kinds.kind(kind)
    if owner is None or owner.info.api_version != version:
        yield "kind", f"Invalid value: {version} {kind} is not served here; write an owner that is"
        return
    if owner.info.namespaced and not served.info.namespaced:
        yield "kind", f"Invalid value: a namespaced {kind} can't own a {served.info.kind}"
        return
    namespace = (call.target.namespace or "") if owner.info.namespaced else ""
    found = call.ctx.view.get(Key(kind, namespace, name))
    where = f"in namespace '{namespace}'" if namespace else "in the cluster"
    if found is None:
        yield "name", f"Invalid value: there is no {kind} '{name}' {where}"
    elif found.uid != ref.get("uid"):
        yield (
            "uid",
            f"Invalid value: {kind} '{name}' has another uid; read it with "
            f"kubectl get {owner.info.singular} {name} -o jsonpath='{{.metadata.uid}}'",
        )
