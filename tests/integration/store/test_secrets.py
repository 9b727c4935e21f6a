"""Secrets at rest: never in clear in any table, no-ops recognised, keys destroyed with them."""

import asyncio
import base64
import os
from typing import Any

import asyncpg
import pytest

from controlplane.engine.cache import Cache
from controlplane.errors import SecretLostError
from controlplane.store.connect import Database, Dedicated
from controlplane.store.keys import StoredKeys
from controlplane.store.records import Actor, Records
from controlplane.store.sealing import LAST_APPLIED
from controlplane.store.service import PostgresStore

pytestmark = pytest.mark.postgres

ALICE = Actor("alice", "kubectl")


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def secret(canary: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {
            "name": "creds",
            "namespace": "shop",
            "annotations": {LAST_APPLIED: '{"stringData":{"b":"' + canary + '"}}', "note": "x"},
        },
        "data": {"a": b64(canary)},
        "stringData": {"b": canary},
    }


@pytest.fixture
async def shop(records: Records) -> None:
    obj = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
    await records.create("Namespace", obj, actor=ALICE)


async def everything(conn: Dedicated) -> bytes:
    """Every value of every row of every table, as bytes."""
    tables = await conn.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    found = []
    for table in tables:
        for row in await conn.fetch(f'SELECT * FROM "{table["tablename"]}"'):
            found += [v if isinstance(v, bytes) else str(v).encode() for v in row.values()]
    return b"\n".join(found)


@pytest.mark.usefixtures("shop")
async def test_a_secret_reads_back_and_is_never_in_clear(
    records: Records, database: Database, cache: Cache
) -> None:
    canary = "canary-" + os.urandom(8).hex()
    made = await records.create("Secret", secret(canary), actor=ALICE)
    read = await records.read(made)
    assert read["data"] == {"a": b64(canary), "b": b64(canary)}
    assert canary in read["metadata"]["annotations"][LAST_APPLIED]
    assert read["metadata"]["annotations"]["note"] == "x"
    assert "stringData" not in read
    read["data"]["c"] = b64(canary)
    after = await records.update(made, read, actor=ALICE)
    assert after.obj["secretKeys"] == ["a", "b", "c"]
    assert after.obj["contentHmac"] != made.obj["contentHmac"]
    conn = await asyncpg.connect(database.dsn)
    try:
        stored = await everything(conn)
    finally:
        await conn.close()
    assert b"secretKeys" in stored
    for clear in (canary, b64(canary), canary.encode().hex()):
        assert clear.encode() not in stored
        assert clear.encode() not in after.body
    kept = cache.get(made.key)
    assert kept is not None
    assert canary.encode() not in kept.body


@pytest.mark.usefixtures("shop")
async def test_equal_content_is_a_no_op(records: Records, store: PostgresStore) -> None:
    made = await records.create("Secret", secret("v"), actor=ALICE)
    assert await records.update(made, secret("v"), actor=ALICE) is made
    relabelled = await records.read(made)
    relabelled["metadata"]["labels"] = {"a": "b"}
    after = await records.update(made, relabelled, actor=ALICE)
    assert after.obj["sealed"] == made.obj["sealed"]
    assert after.obj["contentHmac"] == made.obj["contentHmac"]
    assert after.generation == made.generation
    assert await store.revision() == after.revision


@pytest.mark.usefixtures("shop")
async def test_deleting_a_secret_destroys_its_key(records: Records, database: Database) -> None:
    made = await records.create("Secret", secret("v"), actor=ALICE)
    assert await records.delete(made, actor=ALICE) is None
    async with database.reading("cannot read") as conn:
        assert await conn.fetchval("SELECT count(*) FROM object_keys") == 0
    with pytest.raises(SecretLostError):
        await records.read(made)


@pytest.mark.usefixtures("shop")
async def test_the_log_knows_which_secrets_were_deleted(
    records: Records, database: Database
) -> None:
    keys = StoredKeys(database)
    made = await records.create("Secret", secret("v"), actor=ALICE)
    assert await keys.sealed_uids() == {made.uid}
    assert await keys.deleted_uids([made.uid, "another"]) == frozenset()
    await records.delete(made, actor=ALICE)
    assert await keys.sealed_uids() == frozenset()
    assert await keys.deleted_uids([made.uid, "another"]) == {made.uid}


@pytest.mark.usefixtures("shop")
async def test_a_dry_run_keeps_no_key(records: Records, database: Database) -> None:
    would = await records.create("Secret", secret("v"), actor=ALICE, dry_run=True)
    assert (await records.read(would))["data"]["a"] == b64("v")
    async with database.reading("cannot read") as conn:
        assert await conn.fetchval("SELECT count(*) FROM object_keys") == 0


async def test_a_database_is_known_by_what_its_first_agent_made(
    records: Records, database: Database
) -> None:
    keys = StoredKeys(database)
    assert await keys.identity() is None
    obj = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system"}}
    made = await records.create("Namespace", obj, actor=ALICE)
    assert await keys.identity() == made.uid


async def test_a_read_of_keys_is_for_all_who_ask_even_if_the_first_is_gone(
    database: Database,
) -> None:
    keys = StoredKeys(database)
    for uid in ("a", "b"):
        await keys.put(uid, uid.encode())
    first, *others = [asyncio.ensure_future(keys.get(uid)) for uid in ("a", "b", "none", "a")]
    await asyncio.sleep(0)
    first.cancel()
    assert await asyncio.gather(*others) == [b"b", None, b"a"]
    assert await keys.get("a") == b"a"
