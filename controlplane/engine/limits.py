"""What the budget may hand out, read from the Host record and the Quotas: the two kinds whose
meaning is the budget.
"""

from typing import Final

from controlplane.budget import UNLIMITED
from controlplane.engine.port import Limits
from controlplane.engine.resolve import parse
from controlplane.errors import TerminalError
from controlplane.records import Key, View
from resources.host import Host
from resources.meta import Footprint
from resources.quota import Quota

HOST_NAME: Final = "host"
BUDGET_KINDS: Final = frozenset({Host.info.kind, Quota.info.kind})
RESERVED_CPU_PERCENT: Final = 10
RESERVED_MEMORY_BYTES: Final = 2**30
"""The default reserve: 10 % of the CPU and 1 GiB."""


def read_limits(view: View) -> Limits:
    """The limits as the records of this moment say."""
    capacity, reserved = _host(view)
    quotas: dict[str, Footprint] = {}
    for stored in view.list(Quota.info.kind):
        try:
            quota = parse(Quota, stored)
        except TerminalError:
            continue  # its own pass says what is wrong with it
        assert isinstance(quota, Quota)
        hard = _hard(quota)
        so_far = quotas.get(stored.key.namespace, UNLIMITED)
        quotas[stored.key.namespace] = _at_most(so_far, hard)
    free = None if capacity is None else capacity - reserved
    return Limits(free, reserved, quotas)


def default_reserve(capacity: Footprint) -> Footprint:
    """10 % of the CPU, rounded up, and 1 GiB, but never more than there is."""
    cpu = -(-capacity.cpu_millicores * RESERVED_CPU_PERCENT // 100)
    return Footprint(cpu, min(RESERVED_MEMORY_BYTES, capacity.memory_bytes))


def _host(view: View) -> tuple[Footprint | None, Footprint]:
    stored = view.get(Key(Host.info.kind, "", HOST_NAME))
    if stored is None:
        return None, Footprint()
    try:
        host = parse(Host, stored)
    except TerminalError:
        return None, Footprint()
    assert isinstance(host, Host)
    found = host.status.capacity
    capacity = host.spec.capacity_of(Footprint() if found is None else found.footprint)
    if found is None and not Footprint(1, 1, 1).fits(capacity):
        return None, Footprint()  # a part is neither stated nor measured so far
    reserved = host.spec.reserved.footprint if host.spec.reserved else default_reserve(capacity)
    return capacity, reserved


def _hard(quota: Quota) -> Footprint:
    spec = quota.spec
    return Footprint(
        UNLIMITED.cpu_millicores if spec.cpu is None else spec.cpu,
        UNLIMITED.memory_bytes if spec.memory is None else spec.memory,
        UNLIMITED.disk_bytes if spec.disk is None else spec.disk,
    )


def _at_most(one: Footprint, other: Footprint) -> Footprint:
    """Component-wise minimum: with several quotas, each of them holds."""
    return Footprint(
        min(one.cpu_millicores, other.cpu_millicores),
        min(one.memory_bytes, other.memory_bytes),
        min(one.disk_bytes, other.disk_bytes),
    )
