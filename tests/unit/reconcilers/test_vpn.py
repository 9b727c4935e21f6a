"""VpnNetwork and VpnPeer together: made, edited, meddled with, deleted in every order.

Over 400 lines, because gateway and peers are one story.
"""

from collections.abc import Callable

from controlplane.errors import RetryableError
from controlplane.records import Key
from drivers.wireguard_keys import public_key_of
from tests.support.platform import Platform
from tests.support.virtual import in_virtual_time
from tests.unit.reconcilers.vpn import (
    OFFICE,
    SECRET,
    address_of,
    config,
    key_of,
    lease,
    lets_in,
    live,
    make_network,
    make_peers,
    new_key,
    peer,
    ready,
    secret,
    writes,
)

HOURS_S = 2 * 3600.0


@in_virtual_time
async def test_peers_get_addresses_keys_and_a_configuration_and_then_all_is_silent() -> None:
    async with Platform().running() as platform:
        await make_network(platform)
        await make_peers(platform, "laptop", "phone")
        assert platform.ready(OFFICE), platform.condition(OFFICE)
        assert (
            ready(platform, "laptop")[:2]
            == ready(platform, "phone")[:2]
            == (
                "True",
                "Serving",
            )
        )
        assert await lets_in(platform) == {
            key_of(platform, "laptop"): ("10.99.0.2/32",),
            key_of(platform, "phone"): ("10.99.0.3/32",),
        }
        made = await secret(platform, Key("Secret", "shop", "laptop-vpn"))
        assert public_key_of(made["privatekey"].decode()) == key_of(platform, "laptop")
        assert made["qr.png"].startswith(b"\x89PNG")
        assert b"<svg" in made["qr.svg"]
        gateway = platform.status(OFFICE)["publicKey"]
        port = platform.status(OFFICE)["allocation"]["ports"][0]
        assert made["wg0.conf"].decode() == (
            f"[Interface]\nPrivateKey = {made['privatekey'].decode()}\n"
            "Address = 10.99.0.2/32\nDNS = 10.99.0.1\nMTU = 1380\n\n"
            f"[Peer]\nPublicKey = {gateway}\nAllowedIPs = 10.99.0.0/24, 10.201.1.0/24\n"
            f"Endpoint = vpn.example.org:{port}\nPersistentKeepalive = 25\n"
        )
        await platform.settle(60)
        before = writes(platform), sum(platform.engine.writes.values())
        await platform.settle(HOURS_S)
        assert (writes(platform), sum(platform.engine.writes.values())) == before


@in_virtual_time
async def test_many_made_at_once_get_one_address_each() -> None:
    platform = Platform()
    names = [f"p{number}" for number in range(30)]
    async with platform.running():
        await make_network(platform, subnet="10.50.0.0/27")
        await make_peers(platform, *names)
        await platform.settle(10)
        given = {address_of(platform, name) for name in names if name != "p29"}
        assert len(given) == 29
        assert "10.50.0.1" not in given
        status, reason, message = ready(platform, "p29")
        assert (status, reason) == ("False", "Refused")
        assert "10.50.0.0/27 has no free address" in message
        await platform.delete(peer("p3"))
        await platform.settle(5)
        assert ready(platform, "p29")[0] == "True"
        assert len(await lets_in(platform)) == 29


@in_virtual_time
async def test_a_deleted_peer_is_out_before_its_record_is_gone_and_others_stay() -> None:
    async with Platform().running() as platform:
        await make_network(platform)
        await make_peers(platform, "laptop", "phone")
        gone, kept = key_of(platform, "laptop"), key_of(platform, "phone")
        container = platform.of(OFFICE)[0]
        platform.wireguard.shake_hands(container.id, kept, at=1_767_225_600, received=10)
        await platform.delete(peer("laptop"))
        while platform.find(peer("laptop")) is not None:
            assert gone not in await lets_in(platform) or platform.find(peer("laptop"))
            await platform.settle(0.05)
        assert list(await lets_in(platform)) == [kept]
        assert (await live(platform)).peers[0].received_bytes == 10, "its session went on"
        assert platform.find(Key("Secret", "shop", "laptop-vpn")) is None
        assert address_of(platform, "phone") == "10.99.0.3"
        await make_peers(platform, "tablet")
        assert address_of(platform, "tablet") == "10.99.0.2", "its address was free again"
        assert platform.of(OFFICE)[0].id == container.id


@in_virtual_time
async def test_an_address_asked_for_by_two_is_the_first_ones_and_then_the_seconds() -> None:
    async with Platform().running() as platform:
        await make_network(platform)
        await make_peers(platform, "laptop", address="10.99.0.7")
        await make_peers(platform, "phone", address="10.99.0.7")
        assert ready(platform, "laptop")[0] == "True"
        status, reason, message = ready(platform, "phone")
        assert (status, reason) == ("False", "Refused")
        assert "VpnPeer 'laptop'" in message
        await platform.delete(peer("laptop"))
        await platform.settle(5)
        assert ready(platform, "phone")[0] == "True"
        assert list((await lets_in(platform)).values()) == [("10.99.0.7/32",)]


@in_virtual_time
async def test_networks_behind_peers_are_exclusive_and_the_rest_is_served() -> None:
    async with Platform().running() as platform:
        await make_network(platform)
        await make_peers(platform, "berlin", allowedIPs=["192.168.0.0/16"])
        await make_peers(platform, "paris", allowedIPs=["192.168.7.0/24", "172.20.0.0/24"])
        status, reason, message = ready(platform, "paris")
        assert (status, reason) == ("False", "Refused")
        assert "192.168.7.0/24 overlaps 192.168.0.0/16 of VpnPeer 'berlin'" in message
        found = await lets_in(platform)
        assert found[key_of(platform, "paris")] == ("10.99.0.3/32", "172.20.0.0/24")
        await platform.apply("VpnPeer", "berlin", allowedIPs=["192.168.8.0/24"])
        await platform.settle(5)
        assert ready(platform, "paris")[0] == "True"
        found = await lets_in(platform)
        assert "192.168.7.0/24" in found[key_of(platform, "paris")]
        await platform.apply("VpnPeer", "berlin", allowedIPs=["10.201.1.0/25", "10.99.0.0/30"])
        await platform.settle(5)
        message = ready(platform, "berlin")[2]
        assert "the namespace's network" in message
        assert "the tunnel's network" in message


@in_virtual_time
async def test_a_public_key_is_one_peers_alone() -> None:
    async with Platform().running() as platform:
        await make_network(platform)
        key = new_key()
        await make_peers(platform, "laptop", publicKey=key)
        await make_peers(platform, "phone", publicKey=key)
        assert ready(platform, "laptop")[0] == "True"
        assert "VpnPeer 'laptop'" in ready(platform, "phone")[2]
        assert await lets_in(platform) == {key: ("10.99.0.2/32",)}
        gateway = platform.status(OFFICE)["publicKey"]
        await platform.apply("VpnPeer", "phone", publicKey=gateway)
        await platform.settle(5)
        assert "the gateway's own" in ready(platform, "phone")[2]


@in_virtual_time
async def test_what_others_do_to_the_gateway_is_undone() -> None:
    async with Platform().running() as platform:
        await make_network(platform)
        await make_peers(platform, "laptop", "phone")
        before = await live(platform)
        container = platform.of(OFFICE)[0].id
        harms: tuple[Callable[[], None], ...] = (
            lambda: platform.wireguard.remove_peer(container, key_of(platform, "phone")),
            lambda: platform.wireguard.add_peer(container, new_key(), "10.99.0.2/32"),
            lambda: platform.wireguard.meddle(container, intact=False),
            lambda: platform.wireguard.meddle(container, public_key=new_key()),
            lambda: platform.wireguard.meddle(container, listen_port=1),
            lambda: platform.files.tamper(platform.get(OFFICE).uid, "wg0.conf", b""),
        )
        for harm in harms:
            harm()
            await platform.settle(45)
            assert await live(platform) == before
            assert platform.ready(OFFICE)
            assert ready(platform, "phone")[0] == "True"


@in_virtual_time
async def test_a_gateway_that_dies_or_is_removed_comes_back_with_all_its_peers() -> None:
    async with Platform().running() as platform:
        await make_network(platform)
        await make_peers(platform, "laptop", "phone")
        before = await live(platform)
        name = platform.of(OFFICE)[0].name
        for harm in (platform.engine.kill, platform.engine.remove, platform.engine.pause):
            harm(name)
            await platform.settle(2)
            assert await live(platform) == before


@in_virtual_time
async def test_another_key_revision_lets_the_old_key_in_no_more() -> None:
    async with Platform().running() as platform:
        await make_network(platform)
        await make_peers(platform, "laptop", "phone")
        old, other = key_of(platform, "laptop"), key_of(platform, "phone")
        version = platform.status(peer("laptop"))["configVersion"]
        await platform.apply("VpnPeer", "laptop", keyRevision=2)
        await platform.settle(5)
        new = key_of(platform, "laptop")
        assert ready(platform, "laptop")[0] == "True"
        assert old != new
        assert (await lets_in(platform)) == {new: ("10.99.0.2/32",), other: ("10.99.0.3/32",)}
        assert platform.status(peer("laptop"))["configVersion"] != version
        gateway = platform.status(OFFICE)["publicKey"]
        await platform.apply("VpnNetwork", "office", keyRevision=7)
        await platform.settle(5)
        fresh = platform.status(OFFICE)["publicKey"]
        assert fresh != gateway
        assert (await live(platform)).public_key == fresh
        for name in ("laptop", "phone"):
            assert f"PublicKey = {fresh}" in await config(platform, name)
            assert ready(platform, name)[0] == "True"


@in_virtual_time
async def test_a_disabled_peer_is_out_and_keeps_its_address() -> None:
    async with Platform().running() as platform:
        await make_network(platform)
        await make_peers(platform, "laptop", "phone")
        key = key_of(platform, "laptop")
        await platform.apply("VpnPeer", "laptop", enabled=False)
        await platform.settle(5)
        assert key not in await lets_in(platform)
        assert ready(platform, "laptop")[:2] == ("False", "Disabled")
        await make_peers(platform, "tablet")
        assert address_of(platform, "tablet") == "10.99.0.4"
        await platform.apply("VpnPeer", "laptop", enabled=True)
        await platform.settle(5)
        assert (await lets_in(platform))[key] == ("10.99.0.2/32",)


@in_virtual_time
async def test_a_given_key_leaves_no_private_one_and_may_be_taken_back() -> None:
    platform = Platform()
    where = Key("Secret", "shop", "laptop-vpn")
    async with platform.running():
        await make_network(platform)
        await make_peers(platform, "laptop")
        key = new_key()
        await platform.apply("VpnPeer", "laptop", publicKey=key)
        await platform.settle(5)
        assert list(await lets_in(platform)) == [key]
        assert set(await secret(platform, where)) == {"wg0.conf", "publickey"}
        assert "# PrivateKey = the one" in await config(platform, "laptop")
        await platform.apply("VpnPeer", "laptop", publicKey=None)
        await platform.settle(5)
        assert ready(platform, "laptop")[0] == "True"
        assert list(await lets_in(platform)) != [key]
        assert {"privatekey", "qr.png"} <= set(await secret(platform, where))


@in_virtual_time
async def test_secrets_that_are_deleted_or_edited_are_made_anew() -> None:
    platform = Platform()
    where = Key("Secret", "shop", "laptop-vpn")
    async with platform.running():
        await make_network(platform)
        await make_peers(platform, "laptop")
        for key in (where, SECRET):
            await platform.delete(key)
            await platform.settle(40)
            assert ready(platform, "laptop")[0] == "True"
            assert platform.ready(OFFICE)
        good = await secret(platform, where)
        for changes in (
            {"wg0.conf": "bm9uc2Vuc2U="},
            {"qr.png": "bm9uc2Vuc2U="},
            {"publickey": "bm9uc2Vuc2U="},
        ):
            found = await platform.records.read(platform.get(where))
            obj = {**found, "data": {**found["data"], **changes}}
            await platform.edit(platform.get(where), obj)
            await platform.settle(5)
            assert await secret(platform, where) == good
        for key in (where, SECRET):
            found = await platform.records.read(platform.get(key))
            obj = {**found, "data": {**found["data"], "privatekey": "bm9uc2Vuc2U="}}
            await platform.edit(platform.get(key), obj)
            await platform.settle(40)
            assert ready(platform, "laptop")[0] == "True"
            assert public_key_of((await secret(platform, key))["privatekey"].decode())


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
async def test_traffic_is_told_seldom_and_rounded() -> None:
    async with Platform().running() as platform:
        await make_network(platform)
        await make_peers(platform, "laptop")
        container, key = platform.of(OFFICE)[0].id, key_of(platform, "laptop")
        await platform.settle(120)
        before = writes(platform)
        for _ in range(60):
            now = int(platform.now().timestamp())
            platform.wireguard.shake_hands(container, key, at=now, received=1234, sent=77)
            await platform.settle(10)
        assert writes(platform) - before <= 2 * 11, "once a minute, and told once on"
        told = platform.status(peer("laptop"))
        assert told["connected"] is True
        assert told["receivedBytes"] in (69_000, 70_000, 71_000, 72_000, 73_000, 74_000)
        assert told["lastHandshake"].endswith(":00Z")
        assert platform.status(OFFICE)["connected"] == 1
        await platform.settle(600)
        assert platform.status(peer("laptop"))["connected"] is False
        assert platform.status(OFFICE)["connected"] == 0
        quiet = writes(platform)
        await platform.settle(HOURS_S)
        assert writes(platform) == quiet


@in_virtual_time
async def test_every_edit_there_and_back_leaves_what_a_fresh_one_has() -> None:
    async with Platform().running() as platform:
        await make_network(platform)
        await make_peers(platform, "laptop", "phone")
        before = await live(platform), await config(platform, "laptop")
        container = platform.of(OFFICE)[0]
        for there, back in (
            ({"routes": ["172.16.0.0/12"]}, {"routes": []}),
            ({"betweenPeers": False}, {"betweenPeers": True}),
            ({"dns": []}, {"dns": None}),
            ({"mtu": 1300}, {"mtu": 1380}),
            ({"endpoint": "1.2.3.4:7"}, {"endpoint": "vpn.example.org"}),
            (
                {"resources": {"cpu": "200m", "memory": "96Mi"}},
                {"resources": {"cpu": "250m", "memory": "64Mi"}},
            ),
        ):
            await platform.apply("VpnNetwork", "office", **there)
            await platform.settle(5)
            changed = await live(platform), await config(platform, "laptop")
            assert changed != before or "resources" in there
            assert platform.ready(OFFICE)
            await platform.apply("VpnNetwork", "office", **back)
            await platform.settle(5)
            assert (await live(platform), await config(platform, "laptop")) == before
            assert platform.of(OFFICE)[0].id == container.id, "nobody's session ended"
        await platform.apply("VpnNetwork", "office", listenPort=31000)
        await platform.settle(5)
        assert ":31000\n" in await config(platform, "laptop")
        for there, back in (
            ({"address": "10.99.0.77"}, {"address": "10.99.0.2"}),
            ({"allowedIPs": ["192.168.1.0/24"]}, {"allowedIPs": []}),
            ({"routes": ["0.0.0.0/0"]}, {"routes": None}),
            ({"keepalive": 0}, {"keepalive": 25}),
        ):
            was = await live(platform), await config(platform, "laptop")
            await platform.apply("VpnPeer", "laptop", **there)
            await platform.settle(5)
            assert ready(platform, "laptop")[0] == "True"
            assert (await live(platform), await config(platform, "laptop")) != was
            await platform.apply("VpnPeer", "laptop", **back)
            await platform.settle(5)
            assert (await live(platform), await config(platform, "laptop")) == was
        assert lease(platform, "phone")["state"] == "Serving"


@in_virtual_time
async def test_a_gateway_that_answers_nonsense_is_told_and_not_asked_in_a_loop() -> None:
    async with Platform().running() as platform:
        await make_network(platform)
        await make_peers(platform, "laptop")
        faults = platform.wireguard.faults
        for _ in range(1000):
            error = RetryableError("cannot read the WireGuard gateway", reason="BadAnswer")
            faults.fail_next("observe_interface", error)
        await platform.settle(60)
        synced = platform.condition(OFFICE, "Synced")
        assert (synced["status"], synced["reason"]) == ("False", "BadAnswer")
        before, changes = faults.calls["observe_interface"], writes(platform)
        await platform.settle(3600)
        assert faults.calls["observe_interface"] - before < 60, "asked with growing pauses"
        assert writes(platform) == changes, "the same trouble is told once"
        faults.forget()
        await platform.settle(700)
        assert platform.ready(OFFICE)
        assert platform.condition(OFFICE, "Synced")["status"] == "True"


@in_virtual_time
async def test_a_gateway_without_an_interface_is_starting_and_its_peers_wait() -> None:
    async with Platform().running() as platform:
        await make_network(platform)
        await make_peers(platform, "laptop")
        platform.engine.kill(platform.of(OFFICE)[0].name)
        uid = platform.get(OFFICE).uid
        platform.files.folders[uid].files.pop("gateway.conf")
        platform.files.folders[uid].intact = True
        await platform.settle(5)
        assert platform.condition(OFFICE)["reason"] == "Starting"
        assert ready(platform, "laptop")[0] == "False"
        platform.files.folders[uid].intact = False
        await platform.settle(60)
        assert platform.ready(OFFICE)
