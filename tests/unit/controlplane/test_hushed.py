"""A Secret's values get into no log of the process that opened or sealed it."""

import base64
import io

import pytest
import structlog

from controlplane.hushed import Hushed
from controlplane.logs import REDACTED, Redactor, configure_logs
from controlplane.records import Key
from controlplane.store.records import Actor, Records
from resources.kinds import KIND_INFOS
from tests.clock import ManualClock
from tests.support.memory import MemoryStore, PlainSealer

PLANTED = "correct horse battery staple"
USER = Actor("tester", "kubectl")


@pytest.fixture
def log() -> tuple[io.StringIO, Redactor]:
    stream = io.StringIO()
    return stream, configure_logs(style="json", level="info", stream=stream)


async def secret(records: Records, **data: str) -> None:
    home = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
    await records.create("Namespace", home, actor=USER)
    encoded = {name: base64.b64encode(value.encode()).decode() for name, value in data.items()}
    meta = {"name": "login", "namespace": "shop"}
    obj = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": encoded}
    await records.create("Secret", obj, actor=USER)


def records_of(store: MemoryStore, redactor: Redactor) -> Records:
    sealer = Hushed(PlainSealer(), redactor.learn)
    return Records(store, store.cache, sealer, ManualClock(), KIND_INFOS)


def logged(stream: io.StringIO) -> str:
    structlog.get_logger().warning("it_failed", cause=f"the server says: no such row: {PLANTED}")
    return stream.getvalue()


async def test_what_is_written_is_known(log: tuple[io.StringIO, Redactor]) -> None:
    stream, redactor = log
    await secret(records_of(MemoryStore(), redactor), password=PLANTED)
    assert REDACTED in logged(stream)
    assert PLANTED not in stream.getvalue()


async def test_what_another_process_wrote_is_known_once_it_is_read(
    log: tuple[io.StringIO, Redactor],
) -> None:
    stream, redactor = log
    store = MemoryStore()
    await secret(
        Records(store, store.cache, PlainSealer(), ManualClock(), KIND_INFOS), token=PLANTED
    )
    stored = store.cache.get(Key("Secret", "shop", "login"))
    assert stored is not None
    await records_of(store, redactor).read(stored)
    assert REDACTED in logged(stream)
    assert PLANTED not in stream.getvalue()


async def test_names_of_users_and_hosts_stay_readable(log: tuple[io.StringIO, Redactor]) -> None:
    stream, redactor = log
    await secret(records_of(MemoryStore(), redactor), username=PLANTED, host="shop-db.example.org")
    assert PLANTED in logged(stream)
