"""The digest covers what needs a new container, and nothing else."""

from dataclasses import replace
from typing import Any

import pytest

from drivers.containers import (
    ContainerSpec,
    Limits,
    NetworkAttachment,
    Owner,
    PublishedPort,
    VolumeMount,
)
from drivers.digest import container_digest, same_digest

SPEC = ContainerSpec(
    name="app-ns-shop",
    owner=Owner("u1", "App", "ns", "shop"),
    image="bunker/base:1",
    digest="",
    limits=Limits(250, 64 << 20),
    networks=(NetworkAttachment("net"),),
)


def test_container_digest_never_changes_within_its_version() -> None:
    # Released digests are on running containers: another value here would recreate them all.
    assert container_digest(SPEC) == "v1:fadcb368cc50b9b5"
    published = replace(SPEC, ports=(PublishedPort(80, 30000),), keep_caps=("CHOWN",))
    assert container_digest(published) == "v1:e3ed1ad4040dd499"


@pytest.mark.parametrize(
    "changes",
    [
        {"image": "bunker/base:2"},
        {"command": ("x",)},
        {"env": {"A": "b"}},
        {"volumes": (VolumeMount("data", "/data"),)},
        {"secrets_dir": "/run/bunker/secrets/u1"},
        {"ports": (PublishedPort(80, 30000),)},
        {"user": "999"},
        {"read_only_root": True},
        {"tmpfs": ("/tmp",)},
        {"hostname": "x"},
        {"keep_caps": ("CHOWN",)},
        {"capabilities": ("NET_ADMIN",)},
        {"devices": ("/dev/net/tun",)},
        {"sysctls": {"net.ipv4.ip_forward": "1"}},
        {"ports": (PublishedPort(53, 30000, protocol="udp"),)},
        {"labels": {"bunker.cloud/slot": "1"}},
        {"networks": ()},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_container_digest_moves_with(changes: dict[str, Any]) -> None:
    other = replace(SPEC, **changes)
    assert container_digest(other) != container_digest(SPEC)
    assert not same_digest(container_digest(SPEC), other)


@pytest.mark.parametrize(
    "changes",
    [
        {"limits": Limits(500, 128 << 20)},
        {"networks": (NetworkAttachment("other", ("a",)),)},
        {"name": "other"},
        {"digest": "v1:anything"},
        {"stop_timeout_s": 60},
        {"notes": {"bunker.cloud/reach": "80"}},
        {"owner": Owner("u2", "App", "ns", "shop")},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_container_digest_stays_for(changes: dict[str, Any]) -> None:
    other = replace(SPEC, **changes)
    assert container_digest(other) == container_digest(SPEC)
    assert same_digest(container_digest(SPEC), other)


def test_order_where_it_means_nothing_is_ignored() -> None:
    one = replace(SPEC, env={"A": "1", "B": "2"}, keep_caps=("CHOWN", "SETUID"))
    two = replace(SPEC, env={"B": "2", "A": "1"}, keep_caps=("SETUID", "CHOWN"))
    assert container_digest(one) == container_digest(two)


@pytest.mark.parametrize("label", ["", "v9:fadcb368cc50b9b5", "nonsense"])
def test_same_digest_is_false_for_what_it_cannot_read(label: str) -> None:
    assert not same_digest(label, SPEC)
