"""VpnNetwork and VpnPeer: keys made, given, changed, lost and edited."""

from controlplane.records import Key
from drivers.wireguard_keys import public_key_of
from tests.support.platform import Platform
from tests.support.virtual import in_virtual_time
from tests.unit.reconcilers.vpn import (
    OFFICE,
    SECRET,
    config,
    key_of,
    lets_in,
    live,
    make_network,
    make_peers,
    new_key,
    peer,
    ready,
    secret,
)


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
async def test_what_is_deleted_goes_though_the_keys_of_its_secrets_are_lost() -> None:
    platform = Platform()
    async with platform.running():
        await make_network(platform)
        await make_peers(platform, "laptop")
        for key in (Key("Secret", "shop", "laptop-vpn"), SECRET):
            platform.sealer.lost.add(platform.get(key).uid)
        await platform.delete(peer("laptop"))
        await platform.settle(120)
        await platform.delete(OFFICE)
        await platform.settle(700)
        assert (platform.find(peer("laptop")), platform.find(OFFICE)) == (None, None)
