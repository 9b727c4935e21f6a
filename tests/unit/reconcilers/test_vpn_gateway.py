"""VpnNetwork: a gateway that others meddle with, that dies, or that answers nonsense."""

from collections.abc import Callable

from controlplane.errors import RetryableError
from tests.support.platform import Platform
from tests.support.virtual import in_virtual_time
from tests.unit.reconcilers.vpn import (
    OFFICE,
    key_of,
    live,
    make_network,
    make_peers,
    new_key,
    ready,
    writes,
)


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
