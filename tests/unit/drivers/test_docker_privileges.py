"""What services of the platform, tunnels and gateways get beyond others, and who does not."""

from dataclasses import replace
from typing import Any, Final

import pytest

from controlplane.errors import TerminalError
from drivers.containers import Owner, PublishedPort
from tests.unit.drivers.bodies import PLAIN, body_of

SERVICE: Final = replace(PLAIN, owner=Owner("u2", "Platform", "platform", "vpn"))


def test_a_service_of_the_platform_gets_what_it_needs_and_no_more() -> None:
    spec = replace(
        SERVICE,
        keep_caps=("CHOWN",),
        capabilities=("NET_ADMIN", "NET_RAW", "CHOWN"),
        devices=("/dev/net/tun",),
        sysctls={"net.ipv4.ip_forward": "1"},
        ports=(PublishedPort(51820, 30000, protocol="udp"), PublishedPort(80, 30001)),
    )
    body = body_of(spec)
    host = body["HostConfig"]
    assert host["CapDrop"] == ["ALL"]
    assert host["CapAdd"] == ["CHOWN", "NET_ADMIN", "NET_RAW"]
    assert host["Devices"] == [
        {
            "PathOnHost": "/dev/net/tun",
            "PathInContainer": "/dev/net/tun",
            "CgroupPermissions": "rwm",
        }
    ]
    assert host["Sysctls"] == {"net.ipv4.ip_forward": "1"}
    assert body["ExposedPorts"] == {"51820/udp": {}, "80/tcp": {}}
    assert host["PortBindings"] == {
        "51820/udp": [{"HostIp": "127.0.0.1", "HostPort": "30000"}],
        "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "30001"}],
    }
    assert host["Privileged"] is False
    assert host["SecurityOpt"] == ["no-new-privileges"]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"capabilities": ("SYS_ADMIN",)}, id="all powers"),
        pytest.param({"capabilities": ("ALL",)}, id="every capability"),
        pytest.param({"capabilities": ("SYS_MODULE",)}, id="kernel modules"),
        pytest.param({"keep_caps": ("NET_ADMIN",)}, id="by the other field"),
        pytest.param({"devices": ("/dev/mem",)}, id="memory of the host"),
        pytest.param({"devices": ("/dev/net/../mem",)}, id="a way around"),
        pytest.param({"sysctls": {"kernel.core_pattern": "1"}}, id="sysctl of the host"),
        pytest.param({"sysctls": {"net.ipv4.ip_forward": "1;x"}}, id="sysctl value"),
        pytest.param({"sysctls": {"net.ipv4..x": "1"}}, id="sysctl name"),
    ],
)
def test_not_even_a_service_of_the_platform_gets(changes: dict[str, Any]) -> None:
    with pytest.raises(TerminalError):
        body_of(replace(SERVICE, **changes))


@pytest.mark.parametrize("kind", ["App", "Database", "Volume", ""])
@pytest.mark.parametrize("namespace", ["shop", "platform", "", "Platform"])
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"capabilities": ("NET_ADMIN",)}, id="capability"),
        pytest.param({"capabilities": ("CHOWN",)}, id="harmless capability"),
        pytest.param({"devices": ("/dev/net/tun",)}, id="device"),
        pytest.param({"sysctls": {"net.ipv4.ip_forward": "1"}}, id="sysctl"),
    ],
)
def test_a_record_of_a_tenant_never_gets(
    changes: dict[str, Any], kind: str, namespace: str
) -> None:
    owner = Owner("u1", kind, namespace, "shop")
    with pytest.raises(TerminalError):
        body_of(replace(PLAIN, owner=owner, **changes))
    with pytest.raises(TerminalError):
        body_of(replace(SERVICE, owner=replace(SERVICE.owner, namespace="shop"), **changes))


GATEWAY: Final = replace(PLAIN, owner=Owner("u3", "VpnNetwork", "shop", "office"))


def test_a_tunnel_gets_what_it_needs_in_any_namespace() -> None:
    host = body_of(
        replace(
            GATEWAY,
            capabilities=("NET_ADMIN",),
            devices=("/dev/net/tun",),
            sysctls={"net.ipv4.ip_forward": "1"},
        )
    )["HostConfig"]
    assert host["CapAdd"] == ["NET_ADMIN"]
    assert [device["PathOnHost"] for device in host["Devices"]] == ["/dev/net/tun"]
    assert host["Sysctls"] == {"net.ipv4.ip_forward": "1"}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"capabilities": ("NET_RAW",)}, id="spoofing"),
        pytest.param({"capabilities": ("SYS_ADMIN",)}, id="all powers"),
        pytest.param({"devices": ("/dev/mem",)}, id="memory of the host"),
        pytest.param({"sysctls": {"net.ipv4.conf.all.route_localnet": "1"}}, id="sysctl"),
        pytest.param({"keep_caps": ("NET_ADMIN",)}, id="by the other field"),
    ],
)
def test_not_even_a_tunnel_gets(changes: dict[str, Any]) -> None:
    with pytest.raises(TerminalError):
        body_of(replace(GATEWAY, **changes))


def test_a_models_gateway_may_refuse_to_forward_and_nothing_else() -> None:
    gateway = replace(PLAIN, owner=Owner("u4", "Model", "shop", "chat"))
    host = body_of(replace(gateway, sysctls={"net.ipv4.ip_forward": "0"}))["HostConfig"]
    assert host["Sysctls"] == {"net.ipv4.ip_forward": "0"}
    for more in ({"capabilities": ("NET_ADMIN",)}, {"devices": ("/dev/net/tun",)}):
        asked: dict[str, Any] = more
        with pytest.raises(TerminalError):
            body_of(replace(gateway, **asked))
