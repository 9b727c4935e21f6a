"""What holds back a record's first start: its namespace's network, the platform services it works
on, and records it refers to.

Only the first one: what runs already is never stopped or left broken because something it
refers to isn't ready at the moment.
"""

from controlplane.conditions import Reason
from controlplane.engine.resolve import Resolver
from controlplane.plan import Wait, Want
from controlplane.records import Key
from resources.meta import Record


def first_start(resolver: Resolver, key: Key, want: Want[Record]) -> Wait | None:
    """Why `key` may not start yet; None: it may."""
    if want.record.info.needs_namespace_network and not want.network_ready:
        text = f"the network of namespace '{key.namespace}' is not ready"
        return Wait(Reason.NAMESPACE_NOT_READY, text)
    if away := [service.message for service in want.services.values() if not service.ready]:
        return Wait(Reason.SERVICE_NOT_READY, "; ".join(away))
    unready = [ref for ref in want.refs.values() if not ref.ready]
    if not unready:
        return None
    if chain := resolver.cycle(key):
        names = " -> ".join(f"{each.kind} '{each.name}'" for each in chain)
        return Wait(Reason.REFERENCE_CYCLE, f"{names}: they wait for each other; remove one")
    missing = any(ref.uid is None for ref in unready)
    reason = Reason.REFERENCE_NOT_FOUND if missing else Reason.REFERENCE_NOT_READY
    return Wait(reason, "; ".join(ref.message for ref in unready))
