"""What the processes of a control plane have in common: made once, given to each part."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from controlplane.clock import Clock
from controlplane.engine.cache import Cache
from controlplane.records import Sealer
from controlplane.settings import Settings
from controlplane.store.connect import Database
from controlplane.store.records import Records
from controlplane.store.service import PostgresStore


@dataclass(frozen=True, slots=True)
class Shared:
    """What API and agent both work with."""

    settings: Settings
    clock: Clock
    database: Database
    store: PostgresStore
    cache: Cache
    records: Records
    sealer: Sealer
    registry: CollectorRegistry
