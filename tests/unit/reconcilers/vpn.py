"""A VpnNetwork and its VpnPeers under the real engine on fakes, and words to speak of them."""

from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from controlplane.records import Key
from drivers.wireguard import InterfaceState
from drivers.wireguard_keys import generate_private_key, public_key_of
from tests.support.platform import Platform

OFFICE = Key("VpnNetwork", "shop", "office")
SECRET = Key("Secret", "shop", "office-gateway")


def peer(name: str) -> Key:
    return Key("VpnPeer", "shop", name)


def new_key() -> str:
    return public_key_of(generate_private_key())


async def make_network(platform: Platform, **spec: Any) -> None:
    await platform.settle(1)
    await platform.apply("VpnNetwork", "office", endpoint="vpn.example.org", **spec)


async def make_peers(platform: Platform, *names: str, **spec: Any) -> None:
    for name in names:
        await platform.apply("VpnPeer", name, networkRef={"name": "office"}, **spec)
    await platform.settle(5)


async def live(platform: Platform) -> InterfaceState:
    """What the gateway does."""
    (container,) = platform.of(OFFICE)
    found = await platform.wireguard.observe_interface(container.id)
    assert found is not None
    return found


async def lets_in(platform: Platform) -> dict[str, tuple[str, ...]]:
    """Public key -> addresses, in the gateway."""
    return {each.peer.public_key: each.peer.allowed_ips for each in (await live(platform)).peers}


def key_of(platform: Platform, name: str) -> str:
    return str(platform.status(peer(name))["publicKey"])


def address_of(platform: Platform, name: str) -> str:
    return str(platform.status(peer(name))["address"])


def ready(platform: Platform, name: str) -> tuple[str, str, str]:
    """Status, reason and message of its Ready."""
    found = platform.condition(peer(name))
    return found["status"], found["reason"], found["message"]


def lease(platform: Platform, name: str) -> Mapping[str, Any]:
    return next(each for each in platform.status(OFFICE)["peers"] if each["name"] == name)


async def secret(platform: Platform, key: Key) -> dict[str, bytes]:
    data = (await platform.records.read(platform.get(key)))["data"]
    return {name: b64decode(value) for name, value in data.items()}


async def config(platform: Platform, name: str) -> str:
    return (await secret(platform, Key("Secret", "shop", f"{name}-vpn")))["wg0.conf"].decode()


def writes(platform: Platform) -> int:
    """Changes of the store that are no events."""
    return sum(1 for write in platform.store.writes if write.key.kind != "Event")
