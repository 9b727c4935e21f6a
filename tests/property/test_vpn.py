"""From any history of peers, edits, meddling and faults, a gateway lets in whom its records say.

The oracle reads the fake gateway and the records' own fields, and knows nothing of leases or plans.
"""

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from controlplane.errors import RetryableError
from controlplane.plan import Dependent
from drivers.containers import Limits
from drivers.wireguard_keys import generate_private_key, public_key_of
from resources.vpnnetwork import VpnNetwork
from tests.property.machine import LOOK, RESOURCES, KindMachine
from tests.unit.reconcilers.world import record

KEYS = [public_key_of(generate_private_key()) for _ in range(4)]
NAMES = st.integers(0, 3)


class VpnNetworkMachine(KindMachine):
    """One VpnNetwork, whose peers are edited as their own records would be."""

    @initialize()
    def begin(self) -> None:
        self.spec = {"endpoint": "vpn.example.org", "subnet": "10.99.0.0/28"}
        self.peers: dict[int, Dependent] = {}
        self.status: dict[str, Any] = {}
        self.addresses: dict[str, str] = {}

    def record(self, *, deleting: bool = False) -> Any:
        self.world.dependents = tuple(self.peers[number] for number in sorted(self.peers))
        return record("VpnNetwork", self.spec, deleting=deleting, status=self.status)

    def attempt(self, record: Any) -> None:
        super().attempt(record)
        # as the engine does: what a pass tells is what the next one reads
        _, report = self.run(self.world.look(record))
        self.status = report.status.model_dump(by_alias=True, mode="json", exclude_none=True)

    @rule(resources=RESOURCES, mtu=st.sampled_from([1280, 1380]), between=st.booleans(), look=LOOK)
    def edit(self, resources: dict[str, str], mtu: int, between: bool, look: bool) -> None:
        self.spec |= {"resources": resources, "mtu": mtu, "betweenPeers": between}
        self.look(look)

    @rule(number=NAMES, keyed=st.booleans(), behind=st.booleans(), enabled=st.booleans(), look=LOOK)
    def put_peer(self, number: int, keyed: bool, behind: bool, enabled: bool, look: bool) -> None:
        spec = {"allowedIPs": [f"192.168.{number}.0/24"] if behind else [], "enabled": enabled}
        status = {"publicKey": KEYS[number]} if keyed else {}
        had = self.peers.get(number)
        self.peers[number] = Dependent(
            "VpnPeer", "shop", f"peer{number}", had.uid if had else f"uid{number}", f"{number}",
            spec, status, False, "net", True,
        )  # fmt: skip
        self.look(look)

    @rule(number=NAMES, look=LOOK)
    def delete_peer(self, number: int, look: bool) -> None:
        if number in self.peers:
            self.peers[number] = replace(self.peers[number], deleting=True)
        self.look(look)

    @rule(number=NAMES, look=LOOK)
    def forget_peer(self, number: int, look: bool) -> None:
        self.peers.pop(number, None)
        self.addresses.pop(f"peer{number}", None)
        self.look(look)

    @rule(what=st.sampled_from(["add", "remove", "firewall", "key"]), number=NAMES, look=LOOK)
    def meddle(self, what: str, number: int, look: bool) -> None:
        for state in self.mine():
            if not state.running or state.paused or self.world.wireguard.live(state.id) is None:
                continue
            match what:
                case "add":
                    self.world.wireguard.add_peer(state.id, KEYS[number], "10.99.0.13/32")
                case "remove":
                    self.world.wireguard.remove_peer(state.id, KEYS[number])
                case "firewall":
                    self.world.wireguard.meddle(state.id, intact=False)
                case _:
                    self.world.wireguard.meddle(state.id, public_key=KEYS[number])
        self.look(look)

    @rule(verb=st.sampled_from(["observe_interface", "ensure_interface"]))
    def refuse(self, verb: str) -> None:
        self.world.wireguard.faults.fail_next(verb, RetryableError("planted"))
        self.attempt(self.record())

    def check(self) -> None:
        wanted: VpnNetwork = self.record()
        (state,) = self.mine()
        size = wanted.spec.resources
        assert state.running
        assert not state.paused
        assert state.limits == Limits(size.cpu, size.memory)
        live = self.world.wireguard.live(state.id)
        assert live is not None
        assert live.intact
        secret = self.world.values.data[("Secret", "shop-gateway")]
        assert live.public_key == public_key_of(secret["privatekey"].decode())
        lines = self.world.files.folders[wanted.metadata.uid].files["gateway.conf"].decode()
        assert f"mtu {wanted.spec.mtu}\n" in lines
        assert f"between {'yes' if wanted.spec.between_peers else 'no'}\n" in lines
        let_in = {
            number: peer
            for number, peer in self.peers.items()
            if peer.status and peer.spec["enabled"] and not peer.deleting
        }
        found = {each.peer.public_key: set(each.peer.allowed_ips) for each in live.peers}
        assert found.keys() == {KEYS[number] for number in let_in}
        given = {lease["name"]: lease.get("address") for lease in self.status["peers"]}
        for number, peer in let_in.items():
            own = found[KEYS[number]] - set(peer.spec["allowedIPs"])
            assert own == {f"{given[peer.name]}/32"}
            assert self.addresses.setdefault(peer.name, str(given[peer.name])) == given[peer.name]
        addresses = [address for address in given.values() if address]
        assert len(addresses) == len(set(addresses))


TestVpnNetwork = VpnNetworkMachine.TestCase
