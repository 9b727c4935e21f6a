"""Databases in a namespace with a quota."""

from typing import Any

from controlplane.records import Key
from tests.support.platform import Platform

QUOTA = Key("Quota", "shop", "limit")
SPACE = Key("Namespace", "", "shop")


async def begun(platform: Platform, disk: str = "50Gi") -> None:
    await platform.settle(2)
    await platform.apply("Quota", "limit", disk=disk)
    await platform.settle(3)


async def database(platform: Platform, name: str, storage: str, **spec: Any) -> Key:
    key = await platform.apply("Database", name, engine="redis", storage=storage, **spec)
    await platform.settle(30)
    return key


def volume_of(platform: Platform, key: Key) -> Key:
    return Key("Volume", "", str(platform.status(key)["volume"]))


def disk(platform: Platform, key: Key = QUOTA) -> str:
    return str(platform.status(key)["used"]["disk"])
