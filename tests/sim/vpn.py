"""What a VpnNetwork's gateway and a VpnPeer come to, told from their specs alone."""

from collections.abc import Mapping
from ipaddress import IPv4Network
from typing import Any

from controlplane.records import Key
from drivers.wireguard import InterfaceState
from resources.meta import Record
from tests.support.platform import Platform


def network_world(platform: Platform, record: Record) -> None:
    spec: Any = getattr(record, "spec", None)
    key = Key("VpnNetwork", record.metadata.namespace, record.metadata.name)
    (state,) = platform.of(key)
    assert state.running
    assert not state.paused
    assert state.limits.cpu_millicores == spec.resources.cpu
    assert state.limits.memory_bytes == spec.resources.memory
    made = platform.engine.containers[state.id].spec
    assert made is not None
    (port,) = made.ports
    assert (port.protocol, port.address) == ("udp", spec.listen_address)
    assert port.host_port == (spec.listen_port or port.host_port)
    folder = platform.files.folders[record.metadata.uid]
    assert folder.intact
    lines = folder.files["gateway.conf"].decode().splitlines()
    first = next(IPv4Network(spec.subnet).hosts())
    assert f"address {first}/{spec.subnet.split('/')[1]}" in lines
    assert f"mtu {spec.mtu}" in lines
    assert f"between {'yes' if spec.between_peers else 'no'}" in lines
    allowed = [line.removeprefix("allow ") for line in lines if line.startswith("allow ")]
    assert set(spec.routes) <= set(allowed)
    assert len(allowed) == len({*spec.routes, *allowed[:1]}), "these, and the namespace's network"
    live = _live(platform, key)
    assert live.intact
    mine = _peers(platform, key)
    # one that was paused before it had a key is Pending, and told so by itself
    served = [status for spec, status in mine if spec.get("enabled", True)]
    assert {each.peer.public_key for each in live.peers} == {
        status["publicKey"] for status in served if "publicKey" in status
    }


def peer_world(platform: Platform, record: Record) -> None:
    spec: Any = getattr(record, "spec", None)
    meta = record.metadata
    status = platform.status(Key("VpnPeer", meta.namespace, meta.name))
    live = _live(platform, Key("VpnNetwork", meta.namespace, spec.network_ref.name))
    found = {each.peer.public_key: each.peer.allowed_ips for each in live.peers}
    own = status["publicKey"]
    assert own == (spec.public_key or own)
    if not spec.enabled:
        assert own not in found
        return
    assert status["address"] == (spec.address or status["address"])
    assert set(found[own]) == {f"{status['address']}/32", *spec.allowed_ips}
    secret = platform.get(Key("Secret", meta.namespace, f"{meta.name}-vpn"))
    assert meta.uid in secret.owner_uids
    keys = set(secret.obj.get("secretKeys") or secret.obj.get("data") or ())
    assert ("privatekey" in keys) == (spec.public_key is None)
    assert ("qr.png" in keys) == (spec.public_key is None)


def _live(platform: Platform, key: Key) -> InterfaceState:
    (state,) = platform.of(key)
    found = platform.wireguard.live(state.id)
    assert found is not None
    return found


def _peers(platform: Platform, key: Key) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Spec and status of each that names the network and has a lease."""
    uids = {lease["uid"] for lease in platform.status(key).get("peers") or ()}
    return [
        (each.obj.get("spec") or {}, each.obj.get("status") or {})
        for each in platform.store.cache.list("VpnPeer", key.namespace)
        if each.uid in uids
    ]
