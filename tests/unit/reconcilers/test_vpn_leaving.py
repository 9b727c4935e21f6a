"""VpnNetwork and VpnPeer: paused, or deleted in every order."""

from controlplane.records import Key
from tests.support.platform import Platform
from tests.support.virtual import in_virtual_time
from tests.unit.reconcilers.vpn import (
    OFFICE,
    address_of,
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
