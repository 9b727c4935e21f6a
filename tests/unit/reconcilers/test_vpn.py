"""VpnNetwork and VpnPeer: who gets which address, who is served, what is told and edited."""

from controlplane.errors import RetryableError
from controlplane.records import Key
from drivers.wireguard_keys import public_key_of
from tests.support.platform import Platform
from tests.support.virtual import in_virtual_time
from tests.unit.reconcilers.vpn import (
    OFFICE,
    address_of,
    config,
    key_of,
    lease,
    lets_in,
    live,
    make_network,
    make_peers,
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
async def test_what_is_behind_a_client_is_not_sent_through_its_own_tunnel() -> None:
    async with Platform().running() as platform:
        routes = ["192.168.7.0/24", "192.168.16.0/20", "192.168.0.0/16", "0.0.0.0/0"]
        await make_network(platform)
        own = ["10.99.0.0/24", "10.201.1.0/24"]
        for shown in (routes[:2], routes[2:3], routes[3:]):
            await platform.apply("VpnNetwork", "office", routes=shown)
            behind = ["192.168.7.0/24", "192.168.17.0/24"]
            await make_peers(platform, "router", allowedIPs=behind)
            await make_peers(platform, "laptop")
            left = [each for each in shown if each != "192.168.7.0/24"]
            assert await sent(platform, "router") == [*own, *left], "what is wider stays"
            assert await sent(platform, "laptop") == [*own, *shown]
        await make_peers(platform, "router", allowedIPs=["192.168.0.0/16"])
        await platform.apply("VpnNetwork", "office", routes=routes[:2])
        await platform.settle(5)
        assert await sent(platform, "router") == own
        await make_peers(platform, "router", routes=["192.168.7.0/24"])
        assert await sent(platform, "router") == ["192.168.7.0/24"], "as it was asked for"
        await make_peers(platform, "router", routes=None, allowedIPs=["10.0.0.0/8"])
        assert await sent(platform, "router") == [*own, *routes[:2]], "refused, so not its"


async def sent(platform: Platform, name: str) -> list[str]:
    """What its configuration sends through the tunnel."""
    lines = (await config(platform, name)).splitlines()
    (found,) = (line for line in lines if line.startswith("AllowedIPs = "))
    return found.removeprefix("AllowedIPs = ").split(", ")


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
async def test_who_is_still_in_the_gateway_is_not_told_to_be_out() -> None:
    async with Platform().running() as platform:
        await make_network(platform)
        await make_peers(platform, "laptop")
        key = key_of(platform, "laptop")
        for _ in range(100):
            refusal = RetryableError("cannot set up the gateway: it is busy", reason="SyncFailed")
            platform.wireguard.faults.fail_next("ensure_interface", refusal)
        await platform.apply("VpnPeer", "laptop", enabled=False)
        await platform.settle(5)
        assert key in await lets_in(platform)
        assert ready(platform, "laptop")[:2] == ("False", "Disabling")
        platform.wireguard.faults.forget()
        await platform.settle(60)
        assert key not in await lets_in(platform)
        assert ready(platform, "laptop")[:2] == ("False", "Disabled")


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
