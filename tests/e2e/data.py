"""Reading and writing in a published Database, to see that its data is still there."""

import asyncio
import time
from typing import Any

import asyncpg
import redis

from tests.e2e.cloud import Cloud

Json = dict[str, Any]


def address(record: Json) -> tuple[str, int]:
    """Where the host reaches it."""
    host, _, port = record["status"]["published"].rpartition(":")
    return host, int(port)


def sql(cloud: Cloud, record: Json, *statements: str, password: str = "") -> list[Json]:
    """Run statements with the record's own credentials; the rows of the last one."""
    meta = record["metadata"]
    secret = cloud.secret(record["status"]["secretRef"]["name"], meta["namespace"])
    host, port = address(record)

    async def run() -> list[Json]:
        connection = await asyncpg.connect(
            host=host,
            port=port,
            user=secret["username"],
            password=password or secret["password"],
            database=secret["database"],
            timeout=10,
        )
        try:
            for statement in statements[:-1]:
                await connection.execute(statement)
            return [dict(row) for row in await connection.fetch(statements[-1])]
        finally:
            await connection.close()

    return asyncio.run(run())


def keep(cloud: Cloud, record: Json, value: str) -> None:
    """Write a value that survives a crash of the server."""
    if record["spec"]["engine"] == "postgres":
        sql(
            cloud,
            record,
            "create table if not exists kept (value text)",
            f"insert into kept values ('{value}') returning value",
        )
        return
    with _redis(cloud, record) as client:
        client.set(f"kept:{value}", value)
        # the append-only file is synced once a second
        time.sleep(1.1)


def kept(cloud: Cloud, record: Json) -> set[str]:
    """The values that are there."""
    if record["spec"]["engine"] == "postgres":
        return {row["value"] for row in sql(cloud, record, "select value from kept")}
    with _redis(cloud, record) as client:
        return {key.decode().removeprefix("kept:") for key in client.keys("kept:*")}


def _redis(cloud: Cloud, record: Json) -> "redis.Redis":
    meta = record["metadata"]
    secret = cloud.secret(record["status"]["secretRef"]["name"], meta["namespace"])
    host, port = address(record)
    return redis.Redis(host, port, password=secret["password"], socket_timeout=10)
