"""Reading the engine's JSON."""

from typing import Any

import pytest

from drivers.containers import Limits
from drivers.docker_inspect import (
    container_state,
    image_state,
    listed_container,
    network_state,
    owner_of,
    subnets,
    volume_state,
)


def inspected(**changes: Any) -> dict[str, Any]:
    """As the engine (20.10) answers, cut to what is read."""
    raw: dict[str, Any] = {
        "Id": "abcdef0123456789",
        "Name": "/shop",
        "Image": "sha256:1",
        "RestartCount": 2,
        "State": {
            "Running": True,
            "Paused": False,
            "Restarting": False,
            "OOMKilled": False,
            "ExitCode": 0,
            "StartedAt": "2026-01-01T00:00:00Z",
            "FinishedAt": "0001-01-01T00:00:00Z",
            "Error": "",
        },
        "Config": {
            "Image": "bunker/base:1",
            "Labels": {"bunker.cloud/uid": "u1", "bunker.cloud/digest": "v1:x"},
        },
        "HostConfig": {
            "NanoCpus": 250_000_000,
            "Memory": 64 << 20,
            "MemorySwap": 64 << 20,
            "PidsLimit": 100,
            "RestartPolicy": {"Name": "unless-stopped", "MaximumRetryCount": 0},
        },
        "NetworkSettings": {
            "Networks": {
                "net": {
                    "IPAddress": "10.0.0.2",
                    "NetworkID": "n1",
                    "Aliases": ["db", "abcdef012345"],
                }
            }
        },
    }
    for path, value in changes.items():
        part, key = path.split("__")
        raw[part] = {**raw[part], key: value}
    return raw


def test_container_state_reads_what_we_compare() -> None:
    state = container_state(inspected())
    assert (state.name, state.digest, state.restart_count) == ("shop", "v1:x", 2)
    assert state.owner is not None
    assert state.limits == Limits(250, 64 << 20, 100)
    assert state.networks == {"net": "10.0.0.2"}
    assert state.network_ids == {"net": "n1"}
    assert state.aliases == {"net": ("db",)}
    assert (state.started_at, state.finished_at) == ("2026-01-01T00:00:00Z", "")


def test_waiting_for_a_restart_is_not_running() -> None:
    state = container_state(inspected(State__Restarting=True, State__ExitCode=3))
    assert (state.running, state.restarting, state.exit_code) == (False, True, 3)


def test_one_whose_removal_was_broken_off_is_dead() -> None:
    # as the engine (20.10) tells it after `docker rm` failed to remove its files
    state = container_state(inspected(State__Status="dead", State__Dead=True, State__Running=False))
    assert (state.dead, state.running, state.error) == (True, False, "")
    assert not container_state(inspected()).dead


@pytest.mark.parametrize("policy", ["no", "", "on-failure", "always"])
def test_another_restart_policy_is_seen(policy: str) -> None:
    assert container_state(inspected()).restarts
    raw = inspected(HostConfig__RestartPolicy={"Name": policy, "MaximumRetryCount": 0})
    assert not container_state(raw).restarts


def test_added_swap_reads_as_unlimited_so_that_it_is_corrected() -> None:
    assert container_state(inspected(HostConfig__MemorySwap=-1)).limits.memory_bytes == 0


def test_swap_is_not_compared_where_the_kernel_does_not_account_it() -> None:
    raw = inspected(HostConfig__MemorySwap=-1)
    assert container_state(raw, swap_limited=False).limits.memory_bytes == 64 << 20


def test_limits_removed_outside_read_as_zero() -> None:
    raw = inspected(HostConfig__NanoCpus=0, HostConfig__PidsLimit=None)
    assert container_state(raw).limits == Limits(0, 64 << 20, 0)


def test_no_network_is_no_attachment() -> None:
    assert container_state(inspected(NetworkSettings__Networks={"none": {}})).networks == {}


def test_owner_of_labels_without_uid_is_none() -> None:
    assert owner_of(None) is None
    assert owner_of({"bunker.cloud/name": "x"}) is None


def test_network_state_reads_subnet_and_members() -> None:
    raw: dict[str, Any] = {
        "Id": "n1",
        "Name": "net",
        "Labels": None,
        "IPAM": {"Config": [{"Subnet": "10.0.0.0/24"}, {"Subnet": "fd00::/64"}]},
        "Containers": {"b": {}, "a": {}},
    }
    state = network_state(raw)
    assert (state.subnet, state.container_ids, state.owner) == ("10.0.0.0/24", ("a", "b"), None)
    assert subnets(raw) == ("10.0.0.0/24", "fd00::/64")
    assert subnets({"IPAM": None}) == ()


def test_volume_and_image_states() -> None:
    volume = {"Name": "data", "Labels": None, "CreatedAt": "2026-01-01T00:00:00Z"}
    assert volume_state(volume).owner is None
    # the engine's word for when a file was last made in it: no other volume
    assert volume_state(volume) == volume_state({**volume, "CreatedAt": "2026-01-02T00:00:00Z"})
    local = image_state("a:1", {"Id": "sha256:1", "RepoDigests": None, "Size": 5})
    assert (local.digest, local.size_bytes) == ("", 5)
    pulled = image_state("a:1", {"Id": "sha256:1", "RepoDigests": ["a@sha256:d"]})
    assert pulled.digest == "sha256:d"


@pytest.mark.parametrize(
    ("state", "flags"),
    [
        ("created", {}),
        ("running", {"Running": True}),
        ("paused", {"Running": True, "Paused": True}),
        ("restarting", {"Running": True, "Restarting": True}),
        ("exited", {}),
        ("dead", {}),
    ],
)
def test_a_list_contradicts_what_has_become_of_a_container(
    state: str, flags: dict[str, bool]
) -> None:
    changes = {f"State__{flag}": flag in flags for flag in ("Running", "Paused", "Restarting")}
    known = container_state(inspected(**changes))
    raw = {"Names": ["/shop"], "State": state, "NetworkSettings": {}}
    assert not listed_container(raw).contradicts(known)
    assert listed_container({**raw, "Names": ["/other"]}).contradicts(known)
    other = "exited" if flags else "running"
    assert listed_container({**raw, "State": other}).contradicts(known)
