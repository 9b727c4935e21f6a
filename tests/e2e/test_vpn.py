"""A real tunnel: clients with the configuration of their Secrets, through a VpnNetwork's gateway.

The clients are containers on the engine's default bridge, which has no way into a namespace's
network but the tunnel.
"""

import contextlib
import os
import re
import subprocess
import time
import uuid
from base64 import b64decode
from collections.abc import Iterator
from typing import Final

import pytest

from reconcilers._images import DEMO, WIREGUARD
from tests.e2e.cloud import Cloud, Json, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(400)]

HOST: Final = "172.17.0.1"
"""Where the engine's default bridge reaches this host."""
LABEL: Final = f"bunker.cloud/test=vpn-{os.getpid()}"
BEGIN: Final = r"""
set -e
umask 077
cat >/tmp/wg0.conf
LOG_LEVEL=error wireguard-go wg0 >/dev/null 2>&1
wg-quick strip /tmp/wg0.conf >/tmp/bare.conf
wg setconf wg0 /tmp/bare.conf
ip addr add "$(sed -n 's/^Address = //p' /tmp/wg0.conf)" dev wg0
ip link set wg0 mtu "$(sed -n 's/^MTU = //p' /tmp/wg0.conf)" up
for net in $(sed -n 's/^AllowedIPs = //p' /tmp/wg0.conf | tr -d ,); do
  ip route add "$net" dev wg0
done
"""


def docker(*argv: str, stdin: str = "", check: bool = True, timeout_s: float = 60) -> str:
    done = subprocess.run(
        ["docker", *argv], input=stdin, capture_output=True, text=True, timeout=timeout_s,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0 or not check, done.stdout + done.stderr
    return done.stdout.strip()


class Client:
    """A machine somewhere else, with the configuration of a VpnPeer."""

    def __init__(self, config: str) -> None:
        self.name = f"vpn-client-{uuid.uuid4().hex[:10]}"
        docker(
            *("run", "--detach", "--init", "--name", self.name, "--label", LABEL),
            *("--cap-drop=ALL", "--cap-add=NET_ADMIN", "--cap-add=NET_RAW"),
            *("--device=/dev/net/tun", "--dns=10.99.0.1", "--entrypoint=sleep"),
            *(WIREGUARD, "infinity"),
        )
        docker("exec", "-i", self.name, "bash", "-c", BEGIN, stdin=config)

    def run(self, script: str, *, check: bool = True, timeout_s: float = 60) -> str:
        return docker("exec", self.name, "bash", "-c", script, check=check, timeout_s=timeout_s)

    def pings(self, address: str, *, wait_s: int = 1) -> bool:
        command = f"ping -c1 -W{wait_s} {address}"
        return " 0% packet loss" in self.run(command, check=False)

    def get(self, host: str) -> str:
        """An HTTP answer's head, by bash alone."""
        ask = f"exec 3<>/dev/tcp/{host}/8080; printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3"
        return self.run(f"{ask}; timeout 5 cat <&3", check=False)


@pytest.fixture
def clients() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as made:
        yield made
    if left := docker("ps", "-aq", "--filter", f"label={LABEL}").split():
        docker("rm", "--force", "--volumes", *left)


def network(namespace: str, **spec: object) -> Json:
    return {
        "apiVersion": "bunker.cloud/v1",
        "kind": "VpnNetwork",
        "metadata": {"name": "office", "namespace": namespace},
        "spec": {"endpoint": HOST, **spec},
    }


def peer(namespace: str, name: str, **spec: object) -> Json:
    return {
        "apiVersion": "bunker.cloud/v1",
        "kind": "VpnPeer",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"networkRef": {"name": "office"}, **spec},
    }


def app(namespace: str) -> Json:
    return {
        "apiVersion": "bunker.cloud/v1",
        "kind": "App",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {
            "image": DEMO,
            "port": 8080,
            "healthCheck": {"path": "/healthz"},
            "resources": {"cpu": "100m", "memory": "64Mi"},
        },
    }


def join(cloud: Cloud, namespace: str, name: str) -> Client:
    cloud.apply(peer(namespace, name))
    cloud.wait_ready("vpnpeer", name, namespace)
    return Client(config(cloud, namespace, name))


def config(cloud: Cloud, namespace: str, name: str) -> str:
    path = r"jsonpath={.data.wg0\.conf}"
    found = cloud.kubectl("get", "secret", f"{name}-vpn", "-n", namespace, "-o", path)
    return b64decode(found).decode()


def gateway(cloud: Cloud, namespace: str) -> str:
    found = cloud.get("vpnnetwork", "office", namespace)
    assert found is not None
    return str(found["status"]["container"])


@pytest.mark.usefixtures("clients")
def test_a_client_reaches_apps_and_nothing_else(cloud: Cloud, namespace: str) -> None:
    cloud.apply(network(namespace))
    cloud.apply(app(namespace))
    cloud.wait_ready("vpnnetwork", "office", namespace)
    cloud.wait_ready("app", "web", namespace)
    laptop = join(cloud, namespace, "laptop")
    eventually(lambda: laptop.pings("10.99.0.1", wait_s=5), within_s=20, what="a handshake")
    assert "200 OK" in laptop.get("web"), "by name, through the gateway's name server"
    address = laptop.run("getent hosts web").split()[0]
    assert "200 OK" in laptop.get(address)
    host = re.sub(r"\.\d+$", ".1", address)
    assert not laptop.pings(host), "never the host's own address in that network"
    told = eventually(
        lambda: (
            (s := (cloud.get("vpnpeer", "laptop", namespace) or {})["status"])["connected"] and s
        ),
        within_s=100,
        what="status tells that it is connected",
    )
    assert told["receivedBytes"] > 0
    assert told["lastHandshake"].endswith(":00Z")


@pytest.mark.usefixtures("clients")
def test_peers_come_and_go_and_nobody_else_notices(cloud: Cloud, namespace: str) -> None:
    cloud.apply(network(namespace))
    cloud.wait_ready("vpnnetwork", "office", namespace)
    phone = join(cloud, namespace, "phone")
    eventually(lambda: phone.pings("10.99.0.1", wait_s=5), within_s=20, what="a handshake")
    with subprocess.Popen(
        ["docker", "exec", phone.name, "ping", "-i", "0.1", "-c", "150", "-q", "10.99.0.1"],
        stdout=subprocess.PIPE, text=True,
    ) as pinging:  # fmt: skip
        laptop = join(cloud, namespace, "laptop")
        eventually(lambda: laptop.pings("10.99.0.1", wait_s=5), within_s=20, what="a handshake")
        began = time.monotonic()
        cloud.kubectl("delete", "vpnpeer", "laptop", "-n", namespace, "--timeout=30s")
        gone_s = time.monotonic() - began
        assert not laptop.pings("10.99.0.1"), "its record is gone, and so is its way in"
        output, _ = pinging.communicate(timeout=60)
    assert "150 packets transmitted, 150 received, 0% packet loss" in output
    assert gone_s < 10, "0.6 to 1.0 s on two busy cores, and kubectl's own start"


@pytest.mark.usefixtures("clients")
def test_what_is_done_to_the_gateway_is_undone(cloud: Cloud, namespace: str) -> None:
    cloud.apply(network(namespace))
    cloud.wait_ready("vpnnetwork", "office", namespace)
    phone = join(cloud, namespace, "phone")
    eventually(lambda: phone.pings("10.99.0.1", wait_s=5), within_s=20, what="a handshake")
    name = gateway(cloud, namespace)
    key = (cloud.get("vpnpeer", "phone", namespace) or {})["status"]["publicKey"]
    stranger = docker("exec", name, "sh", "-c", "wg genkey | wg pubkey")
    docker("exec", name, "wg", "set", "wg0", "peer", key, "remove")
    docker("exec", name, "wg", "set", "wg0", "peer", stranger, "allowed-ips", "10.99.0.9/32")
    docker("exec", name, "iptables", "-P", "FORWARD", "ACCEPT")
    eventually(
        lambda: docker("exec", name, "wg", "show", "wg0", "peers") == key,
        within_s=60,
        what="the peers are those of the records",
    )
    eventually(
        lambda: "-P FORWARD DROP" in docker("exec", name, "iptables", "-S"),
        within_s=60,
        what="the firewall is ours again",
    )
    eventually(lambda: phone.pings("10.99.0.1", wait_s=2), within_s=40, what="it is let in again")
    docker("kill", name)
    cloud.wait_ready("vpnnetwork", "office", namespace)
    eventually(lambda: phone.pings("10.99.0.1", wait_s=2), within_s=60, what="after a restart too")
