"""Whatever a container spec asks for, the body the engine gets is an allow-listed one."""

from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.errors import TerminalError
from drivers.containers import (
    LABEL_INSTANCE,
    LABEL_SLOT,
    LABEL_UID,
    ContainerSpec,
    Limits,
    NetworkAttachment,
    NetworkSpec,
    Owner,
    PublishedPort,
    VolumeMount,
    VolumeSpec,
)
from drivers.docker_body import ADDABLE_CAPS, KEEPABLE_CAPS, limits_body, network_body, volume_body
from tests.unit.drivers.bodies import OWNER, PLAIN, ROOT, body_of

HOSTILE: Final = (
    "/",
    "/etc",
    "/var/run/docker.sock",
    "..",
    "/run/bunker/secrets",
    "/run/bunker/secrets/../../../etc",
    "/run/bunker/secrets/u1",
    "/run/bunker/secretsX/u1",
    "host",
    "container:other",
    "bridge",
    "none",
    "net-ns",
    "SYS_ADMIN",
    "NET_ADMIN",
    "NET_RAW",
    "/dev/net/tun",
    "/dev/mem",
    "net.ipv4.ip_forward",
    "kernel.core_pattern",
    "platform",
    "Platform",
    "ALL",
    "CHOWN",
    "privileged",
    "a\0b",
    "a\nb",
    "a=b",
    "--privileged",
    "/data",
    "/data:/etc:rw",
    "/tmp:exec",
    "/tmp:size=1m,dev,suid",
    "/proc/sys",
    "0.0.0.0",
    "127.0.0.1",
    "traefik.enable",
    LABEL_SLOT,
    LABEL_UID,
    "",
)
texts = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=20))
numbers = st.integers(min_value=-(1 << 40), max_value=1 << 40)
mappings = st.dictionaries(texts, texts, max_size=3)
specs = st.builds(
    ContainerSpec,
    name=st.one_of(st.just("app-ns-shop"), texts),
    owner=st.builds(Owner, texts, texts, texts, texts),
    image=texts,
    digest=texts,
    limits=st.one_of(st.just(PLAIN.limits), st.builds(Limits, numbers, numbers, numbers)),
    command=st.lists(texts, max_size=3).map(tuple),
    env=mappings,
    networks=st.lists(
        st.builds(NetworkAttachment, texts, st.lists(texts, max_size=2).map(tuple)), max_size=2
    ).map(tuple),
    volumes=st.lists(st.builds(VolumeMount, texts, texts, st.booleans()), max_size=2).map(tuple),
    secrets_dir=st.one_of(st.none(), texts),
    ports=st.lists(st.builds(PublishedPort, numbers, numbers, texts), max_size=2).map(tuple),
    user=texts,
    read_only_root=st.booleans(),
    tmpfs=st.lists(texts, max_size=2).map(tuple),
    stop_timeout_s=numbers,
    hostname=texts,
    labels=mappings,
    notes=mappings,
    keep_caps=st.lists(texts, max_size=2).map(tuple),
    capabilities=st.lists(texts, max_size=2).map(tuple),
    devices=st.lists(texts, max_size=2).map(tuple),
    sysctls=mappings,
)


def assert_harmless(body: dict[str, Any]) -> None:
    """What must hold of every body, stated without the builder's own code."""
    assert set(body) <= {
        *("Image", "Cmd", "Env", "Labels", "User", "Hostname", "StopTimeout", "Healthcheck"),
        *("ExposedPorts", "HostConfig", "NetworkingConfig"),
    }
    host = body["HostConfig"]
    labels = body["Labels"]
    kind = labels["bunker.cloud/kind"]
    platform = (kind, labels["bunker.cloud/namespace"]) == ("Platform", "platform")
    trusted = platform or kind == "VpnNetwork"
    assert set(host) - ({"Devices", "Sysctls"} if trusted else set()) == {
        *("NanoCpus", "Memory", "MemorySwap", "PidsLimit", "Privileged", "NetworkMode"),
        *("CapDrop", "CapAdd", "SecurityOpt", "ReadonlyRootfs", "Mounts", "Tmpfs"),
        *("PortBindings", "RestartPolicy", "LogConfig", "Init", "ShmSize"),
    }
    assert host["Privileged"] is False
    assert host["CapDrop"] == ["ALL"]
    assert not set(host["CapAdd"]) & {"ALL", "SYS_ADMIN", "SYS_MODULE", "SYS_PTRACE", "MKNOD"}
    tunnel = {*KEEPABLE_CAPS, "NET_ADMIN"} if trusted else KEEPABLE_CAPS
    assert set(host["CapAdd"]) <= (ADDABLE_CAPS if platform else tunnel)
    assert {device["PathOnHost"] for device in host.get("Devices", ())} <= {"/dev/net/tun"}
    assert all(name.startswith("net.ipv4.") for name in host.get("Sysctls", {}))
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert ":" not in host["NetworkMode"]
    assert host["NetworkMode"] not in {"host", "bridge", "default", ""}
    assert min(host["NanoCpus"], host["Memory"], host["PidsLimit"]) > 0
    assert host["Memory"] == host["MemorySwap"]
    for mount in host["Mounts"]:
        assert_harmless_mount(mount)
    for options in host["Tmpfs"].values():
        assert not {"dev", "suid"} & set(options.split(","))
    for bindings in host["PortBindings"].values():
        assert all(binding["HostIp"] for binding in bindings)
    assert all(label.startswith("bunker.cloud/") for label in body["Labels"])
    assert body["Labels"][LABEL_INSTANCE] == "me"

    assert not {"NET_RAW", "NET_ADMIN"} & KEEPABLE_CAPS


def assert_harmless_mount(mount: dict[str, Any]) -> None:
    if mount["Type"] == "bind":
        assert mount["Source"].startswith(ROOT + "/")
        assert ".." not in mount["Source"].split("/")
        assert mount["ReadOnly"] is True
        assert mount["Target"] == "/run/secrets"
    else:
        assert mount["Type"] == "volume"
        assert "/" not in mount["Source"]
        assert mount["Source"]


@given(spec=specs, secret_env=mappings)
def test_container_body_is_harmless_or_refused(
    spec: ContainerSpec, secret_env: dict[str, str]
) -> None:
    try:
        body = body_of(spec, secret_env)
    except TerminalError:
        return
    assert_harmless(body)


def field_changes(value: str) -> list[dict[str, Any]]:
    """One hostile value in every place that takes a text."""
    return [
        {"name": value},
        {"keep_caps": (value,)},
        {"capabilities": (value,)},
        {"devices": (value,)},
        {"sysctls": {value: "1"}},
        {"owner": replace(OWNER, kind=value, namespace=value)},
        {"owner": replace(OWNER, kind="Platform"), "capabilities": ("NET_ADMIN",)},
        {"owner": replace(OWNER, kind="VpnNetwork"), "capabilities": ("NET_ADMIN", value)},
        {"owner": replace(OWNER, kind="VpnNetwork"), "sysctls": {value: "1"}},
        {"owner": replace(OWNER, namespace="platform"), "devices": ("/dev/net/tun",)},
        {"secrets_dir": value},
        {"networks": (NetworkAttachment(value, (value,)),)},
        {"volumes": (VolumeMount(value, "/data"),)},
        {"volumes": (VolumeMount("data", value),)},
        {"tmpfs": (value,)},
        {"labels": {value: value}},
        {"notes": {value: value}},
        {"env": {value: value}},
        {"ports": (PublishedPort(80, 30000, value),)},
        {"user": value, "hostname": value, "command": (value,)},
    ]


@pytest.mark.parametrize("value", HOSTILE)
def test_each_hostile_value_in_each_field_is_harmless_or_refused(value: str) -> None:
    for changes in field_changes(value):
        spec = replace(PLAIN, **changes)
        try:
            body = body_of(spec)
        except TerminalError:
            continue
        assert_harmless(body)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"volumes": (VolumeMount("/etc", "/data"),)}, id="host path"),
        pytest.param({"volumes": (VolumeMount("data", "/run/secrets/x"),)}, id="over secrets"),
        pytest.param({"volumes": (VolumeMount("data", "/proc/sys"),)}, id="over proc"),
        pytest.param({"volumes": (VolumeMount("data", "data"),)}, id="relative target"),
        pytest.param({"secrets_dir": ROOT}, id="all secrets"),
        pytest.param({"secrets_dir": ROOT + "/../x"}, id="out of the secrets root"),
        pytest.param({"networks": (NetworkAttachment("container:db"),)}, id="other's network"),
        pytest.param({"tmpfs": ("/tmp:dev",)}, id="tmpfs with devices"),
        pytest.param({"ports": (PublishedPort(80, 0),)}, id="random host port"),
        pytest.param({"ports": (PublishedPort(80, 30000, ""),)}, id="every address"),
        pytest.param({"ports": (PublishedPort(80, 30000, protocol="sctp"),)}, id="protocol"),  # type: ignore[arg-type]  # on purpose
        pytest.param({"labels": {"traefik.enable": "true"}}, id="a proxy's label"),
        pytest.param({"labels": {LABEL_UID: "other"}}, id="another owner"),
        pytest.param({"notes": {"traefik.enable": "true"}}, id="a proxy's label as a note"),
        pytest.param({"notes": {LABEL_UID: "other"}}, id="another owner as a note"),
        pytest.param({"env": {"A=B": "c"}}, id="variable name"),
        pytest.param({"env": {"A": "b\0c"}}, id="variable value"),
    ],
)
def test_container_body_refuses(changes: dict[str, Any]) -> None:
    with pytest.raises(TerminalError):
        body_of(replace(PLAIN, **changes))


def test_container_body_says_all_that_is_asked() -> None:
    spec = replace(
        PLAIN,
        command=("serve",),
        env={"B": "2"},
        networks=(NetworkAttachment("net-ns", ("shop",)), NetworkAttachment("second")),
        volumes=(VolumeMount("data", "/var/lib/data"),),
        secrets_dir=ROOT + "/u1",
        ports=(PublishedPort(80, 30000), PublishedPort(80, 30001, "10.0.0.1")),
        tmpfs=("/tmp", "/run:size=8m,mode=1777"),
        keep_caps=("SETUID", "CHOWN"),
        labels={LABEL_SLOT: "0"},
    )
    body = body_of(spec, {"A": "secret"})
    assert body["Cmd"] == ["serve"]
    assert body["Env"] == ["A=secret", "B=2"]
    assert body["Healthcheck"] == {"Test": ["NONE"]}
    assert body["NetworkingConfig"]["EndpointsConfig"] == {"net-ns": {"Aliases": ["shop"]}}
    assert body["ExposedPorts"] == {"80/tcp": {}}
    host = body["HostConfig"]
    assert host["NetworkMode"] == "net-ns"
    assert host["CapAdd"] == ["CHOWN", "SETUID"]
    assert host["Tmpfs"] == {"/tmp": "rw,nosuid,nodev", "/run": "rw,nosuid,nodev,size=8m,mode=1777"}
    assert host["PortBindings"]["80/tcp"] == [
        {"HostIp": "127.0.0.1", "HostPort": "30000"},
        {"HostIp": "10.0.0.1", "HostPort": "30001"},
    ]
    assert [(m["Type"], m["Source"], m["Target"]) for m in host["Mounts"]] == [
        ("volume", "data", "/var/lib/data"),
        ("bind", ROOT + "/u1", "/run/secrets"),
    ]
    assert host["RestartPolicy"] == {"Name": "unless-stopped"}
    assert body["Labels"]["bunker.cloud/epoch"] == "7"


def test_a_variable_of_its_own_wins_over_one_from_a_secret() -> None:
    spec = replace(PLAIN, env={"LOG_LEVEL": "debug"})
    assert body_of(spec, {"LOG_LEVEL": "info", "A": "1"})["Env"] == ["A=1", "LOG_LEVEL=debug"]


def test_container_without_networks_is_in_none() -> None:
    assert body_of(PLAIN)["HostConfig"]["NetworkMode"] == "none"


def test_limits_body_never_says_unlimited() -> None:
    for limits in (Limits(0, 1), Limits(1, 0), Limits(1, 1, 0), Limits(-1, -1, -1)):
        with pytest.raises(TerminalError):
            limits_body(limits)


def test_network_and_volume_bodies_carry_the_owner() -> None:
    network = network_body(NetworkSpec("net", OWNER, "10.1.0.0/24"), instance="me", epoch=1)
    volume = volume_body(VolumeSpec("data", OWNER), instance="me", epoch=1)
    assert network["IPAM"]["Config"] == [{"Subnet": "10.1.0.0/24"}]
    assert network["Labels"] == volume["Labels"]
    assert volume["Labels"][LABEL_UID] == "u1"
    assert "DriverOpts" not in volume
