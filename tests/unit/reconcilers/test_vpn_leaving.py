"""VpnNetwork and VpnPeer: paused, or deleted in every order."""

import pytest

from controlplane.errors import RetryableError
from controlplane.records import Key
from tests.support.platform import Platform
from tests.support.virtual import in_virtual_time
from tests.unit.reconcilers.vpn import (
    OFFICE,
    address_of,
    key_of,
    lease,
    lets_in,
    make_network,
    make_peers,
    new_key,
    peer,
    ready,
)


@in_virtual_time
async def test_deleting_the_network_first_lets_its_peers_go() -> None:
    async with Platform().running() as platform:
        await make_network(platform)
        await make_peers(platform, "laptop", "phone")
        await platform.delete(OFFICE)
        await platform.settle(5)
        assert platform.find(OFFICE) is None
        assert not platform.engine.containers
        assert not platform.files.folders
        assert "does not exist" in ready(platform, "laptop")[2]
        await platform.delete(peer("laptop"))
        await platform.settle(5)
        assert platform.find(peer("laptop")) is None
        await make_network(platform)
        await platform.settle(5)
        assert ready(platform, "phone")[0] == "True"
        assert address_of(platform, "phone") == "10.99.0.3", "as in its client's configuration"


@in_virtual_time
async def test_everything_deleted_at_once_leaves_nothing() -> None:
    async with Platform().running() as platform:
        await make_network(platform)
        await make_peers(platform, "laptop", "phone")
        await platform.delete(Key("Namespace", "", "shop"))
        await platform.settle(20)
        assert platform.find(OFFICE) is None
        assert platform.find(peer("laptop")) is None
        assert not platform.engine.containers
        assert not platform.files.folders


@in_virtual_time
async def test_what_is_paused_from_the_start_is_nowhere() -> None:
    async with Platform().running() as platform:
        await platform.settle(1)
        await platform.apply("VpnNetwork", "office", endpoint="x", paused=True)
        await make_peers(platform, "laptop", paused=True)
        assert not platform.engine.containers
        for key in (OFFICE, peer("laptop")):
            assert not platform.get(key).meta.get("finalizers")
        await platform.apply("VpnNetwork", "office", paused=False)
        await platform.settle(5)
        assert platform.ready(OFFICE)
        assert platform.status(OFFICE)["peers"] == []
        await platform.apply("VpnPeer", "laptop", paused=False)
        await platform.settle(5)
        assert ready(platform, "laptop")[0] == "True"


@in_virtual_time
async def test_a_paused_peer_stays_as_it_was() -> None:
    async with Platform().running() as platform:
        await make_network(platform)
        await make_peers(platform, "laptop")
        before = await lets_in(platform)
        await platform.apply("VpnPeer", "laptop", paused=True)
        await platform.apply(
            "VpnPeer", "laptop", enabled=False, address="10.99.0.9", publicKey=new_key()
        )
        await platform.settle(40)
        assert await lets_in(platform) == before
        await platform.apply("VpnPeer", "laptop", paused=False)
        await platform.settle(5)
        assert await lets_in(platform) == {}


@in_virtual_time
async def test_a_paused_network_says_what_holds_its_peers_deletion() -> None:
    async with Platform().running() as platform:
        await make_network(platform)
        await make_peers(platform, "laptop")
        await platform.apply("VpnNetwork", "office", paused=True)
        await platform.delete(peer("laptop"))
        await platform.settle(5)
        synced = platform.condition(peer("laptop"), "Synced")
        assert "VpnNetwork 'office' is paused" in synced["message"]
        await platform.apply("VpnNetwork", "office", paused=False)
        await platform.settle(5)
        assert platform.find(peer("laptop")) is None
        assert await lets_in(platform) == {}


@in_virtual_time
@pytest.mark.parametrize("given", [True, False], ids=["another key", "none but the one made here"])
async def test_who_had_another_key_is_not_told_to_be_out_while_that_is_let_in(given: bool) -> None:
    async with Platform().running() as platform:
        await make_network(platform)
        first = new_key()
        await make_peers(platform, "laptop", publicKey=first)
        await make_peers(platform, "phone", publicKey=new_key())
        sync_fails(platform)
        await platform.apply("VpnPeer", "laptop", publicKey=new_key() if given else None)
        await platform.settle(5)
        await platform.apply("VpnPeer", "laptop", enabled=False)
        await platform.settle(60)
        assert first in await lets_in(platform)
        assert ready(platform, "laptop")[:2] == ("False", "Disabling")
        await platform.delete(peer("laptop"))
        await platform.settle(60)
        assert first in await lets_in(platform)
        assert platform.find(peer("laptop")) is not None, "its record outlives its way in"
        platform.wireguard.faults.forget()
        await platform.settle(700)
        assert platform.find(peer("laptop")) is None
        assert first not in await lets_in(platform)
        assert ready(platform, "phone")[0] == "True"


@in_virtual_time
async def test_who_is_out_stays_out_while_another_is_not_let_go() -> None:
    async with Platform().running() as platform:
        await make_network(platform)
        for name in ("laptop", "phone", "tablet"):
            await make_peers(platform, name, publicKey=new_key())
        await platform.apply("VpnPeer", "phone", enabled=False)
        await platform.settle(5)
        await platform.apply("VpnPeer", "phone", paused=True)
        sync_fails(platform)
        await platform.apply("VpnPeer", "laptop", publicKey=new_key())
        await platform.settle(60)
        await platform.apply("VpnPeer", "tablet", publicKey=new_key())
        await platform.apply("VpnPeer", "tablet", enabled=False)
        await platform.settle(60)
        assert lease(platform, "phone")["state"] == "Disabled"
        assert ready(platform, "tablet")[1] == "Disabling"
        await platform.apply("VpnPeer", "tablet", paused=True)
        platform.wireguard.faults.forget()
        await platform.settle(700)
        assert list(await lets_in(platform)) == [key_of(platform, "laptop")]


def sync_fails(platform: Platform) -> None:
    """The gateway is as it is until `faults.forget()`."""
    for _ in range(1000):
        refusal = RetryableError("cannot set up the gateway: it is busy", reason="SyncFailed")
        platform.wireguard.faults.fail_next("ensure_interface", refusal)
