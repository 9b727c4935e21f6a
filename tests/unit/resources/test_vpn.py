"""What a VpnNetwork and a VpnPeer may say, and that each refusal says how to write it."""

from typing import Any

import pytest
from pydantic import ValidationError

from resources.kinds import MODELS
from resources.meta import STORED, Footprint, Record, Reference
from resources.vpnnetwork import VpnNetwork
from resources.vpnpeer import VpnPeer

REF = {"networkRef": {"name": "office"}}
KEY = "Qmr6iheIC/kY4ojNJTO89wmazCcGRMWgt2MTd3jvOjc="


def made(kind: str, **spec: Any) -> Record:
    return MODELS[kind].model_validate(
        {"metadata": {"name": "office", "namespace": "shop"}, "spec": spec}
    )


def network(**spec: Any) -> VpnNetwork:
    found = made("VpnNetwork", **{"endpoint": "vpn.example.org", **spec})
    assert isinstance(found, VpnNetwork)
    return found


def peer(**spec: Any) -> VpnPeer:
    found = made("VpnPeer", **{**REF, **spec})
    assert isinstance(found, VpnPeer)
    return found


@pytest.mark.parametrize(
    ("kind", "spec", "path", "fix"),
    [
        pytest.param("VpnNetwork", {}, "spec.endpoint", "", id="no endpoint"),
        pytest.param(
            "VpnNetwork", {"endpoint": "a\nPostUp = x"}, "spec.endpoint", "a host", id="injection"
        ),
        pytest.param("VpnNetwork", {"endpoint": "a:0"}, "spec.endpoint", ":port", id="port 0"),
        pytest.param(
            "VpnNetwork", {"endpoint": "a.example:99999"}, "spec.endpoint", ":port", id="port 99999"
        ),
        pytest.param(
            "VpnNetwork", {"endpoint": "a..example"}, "spec.endpoint", "a host", id="dots"
        ),
        pytest.param(
            "VpnNetwork", {"endpoint": "a" * 64}, "spec.endpoint", "a host", id="long label"
        ),
        pytest.param("VpnNetwork", {"subnet": "10.9.0.1/24"}, "spec.subnet", "first", id="host"),
        pytest.param("VpnNetwork", {"subnet": "10.9.0.0/16"}, "spec.subnet", "/24", id="large"),
        pytest.param("VpnNetwork", {"subnet": "10.9.0.0/30"}, "spec.subnet", "/29", id="small"),
        pytest.param("VpnNetwork", {"subnet": "8.8.8.0/24"}, "spec.subnet", "10.0", id="public"),
        pytest.param("VpnNetwork", {"subnet": "127.0.0.0/24"}, "spec.subnet", "10.", id="loop"),
        pytest.param("VpnNetwork", {"subnet": "0.0.0.0/24"}, "spec.subnet", "10.", id="no host"),
        pytest.param("VpnNetwork", {"subnet": "240.0.0.0/24"}, "spec.subnet", "10.", id="class E"),
        pytest.param(
            "VpnNetwork", {"subnet": "10.9.0.0/255.255.255.0"}, "spec.subnet", "/24'", id="mask"
        ),
        pytest.param("VpnNetwork", {"routes": ["10.0.0.0"]}, "spec.routes.0", "/32'", id="route"),
        pytest.param(
            "VpnNetwork", {"routes": ["10.0.0.0/8", "10.1.0.0/16"]}, "spec.routes", "leave", id="2"
        ),
        pytest.param("VpnNetwork", {"mtu": 9000}, "spec.mtu", "1500", id="mtu"),
        pytest.param("VpnNetwork", {"dns": ["one.one"]}, "spec.dns.0", "IPv4", id="dns"),
        pytest.param("VpnNetwork", {"listenPort": 0}, "spec.listenPort", "1", id="listen"),
        pytest.param("VpnPeer", {"networkRef": None}, "spec.networkRef", "", id="no network"),
        pytest.param("VpnPeer", {"address": "10.99.0.07"}, "spec.address", "IPv4", id="zeros"),
        pytest.param("VpnPeer", {"publicKey": "abc"}, "spec.publicKey", "wg pubkey", id="key"),
        pytest.param(
            "VpnPeer", {"publicKey": KEY[:-2] + "d="}, "spec.publicKey", "wg pubkey", id="spelling"
        ),
        pytest.param(
            "VpnPeer", {"allowedIPs": ["0.0.0.0/0"]}, "spec.allowedIPs", "spec.routes", id="all"
        ),
        pytest.param(
            "VpnPeer",
            {"allowedIPs": ["10.1.0.0/16", "10.1.2.0/24"]},
            "spec.allowedIPs",
            "overlap",
            id="twice",
        ),
        pytest.param("VpnPeer", {"keepalive": -1}, "spec.keepalive", "0", id="keepalive"),
        pytest.param("VpnPeer", {"enabled": "yes"}, "spec.enabled", "", id="text"),
        pytest.param("VpnPeer", {"keyRevision": 0}, "spec.keyRevision", "1", id="revision"),
    ],
)
def test_a_bad_spec_is_refused_with_its_field_and_the_fix(
    kind: str, spec: dict[str, Any], path: str, fix: str
) -> None:
    base: dict[str, Any] = REF if kind == "VpnPeer" else {"endpoint": "vpn.example.org"}
    with pytest.raises(ValidationError) as caught:
        made(kind, **({**base, **spec} if spec else {}))
    found = {".".join(map(str, e["loc"])): e["msg"] for e in caught.value.errors()}
    assert path in found
    assert fix in found[path]


def test_defaults_are_enough_to_start_with() -> None:
    office = network()
    assert (office.spec.subnet, office.gateway) == ("10.99.0.0/24", "10.99.0.1")
    assert office.host_ports == (None,)
    assert office.footprint == Footprint(250, 64 * 2**20)
    assert network(listenPort=51820).host_ports == (51820,)
    laptop = peer()
    assert laptop.references == (Reference("spec.networkRef", "VpnNetwork", "office"),)
    assert laptop.footprint == Footprint()
    assert (laptop.spec.enabled, laptop.spec.keepalive) == (True, 25)


def test_allowed_ips_are_spelled_as_wireguard_does() -> None:
    found = peer(allowedIPs=["192.168.7.0/24"])
    assert found.spec.allowed_ips == ("192.168.7.0/24",)
    assert found.model_dump(by_alias=True)["spec"]["allowedIPs"] == ("192.168.7.0/24",)
    schema = VpnPeer.model_json_schema(by_alias=True)["$defs"]["VpnPeerSpec"]["properties"]
    assert "allowedIPs" in schema


def test_what_others_rely_on_may_not_change() -> None:
    (error,) = network(subnet="10.98.0.0/24").check_update(network())
    assert (error.field, "VpnPeers" in error.message) == ("spec.subnet", True)
    (error,) = peer(networkRef={"name": "other"}).check_update(peer())
    assert error.field == "spec.networkRef"
    assert not network(mtu=1300).check_update(network())
    assert not peer(address="10.99.0.9").check_update(peer())


@pytest.mark.parametrize("endpoint", ["vpn.example.org:99999", "a..example"])
def test_a_stored_endpoint_of_an_earlier_release_is_read(endpoint: str) -> None:
    body = {"metadata": {"name": "office", "namespace": "shop"}, "spec": {"endpoint": endpoint}}
    assert VpnNetwork.model_validate(body, context=STORED).spec.endpoint == endpoint
