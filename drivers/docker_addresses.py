"""Which address a container gets in a network: one of its own, that lasts.

Left to itself the engine gives another one at each start. After its own restart, containers then
have each other's: whoever goes by addresses, as the ingress does, would send one App's requests to
another until it is told. An address that was asked for is kept over restarts, unless somebody else
has it by then.
"""

import asyncio
import ipaddress
import json
import secrets
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from drivers.containers import NetworkState
from drivers.docker_calls import DockerCalls

Json = Mapping[str, Any]

_ROUNDS_KEPT: Final = 1024
"""Networks whose addresses are remembered; four times as many as a pool of /16 has room for."""


class DockerAddresses:
    """Picks addresses. The engine is asked once for each round through a network, as a list takes
    it 1 ms a container; what others take meanwhile shows when the container is connected."""

    def __init__(self, calls: DockerCalls) -> None:
        self._calls = calls
        self._rounds: dict[str, Iterator[str]] = {}
        self._one_at_a_time: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def pick(self, network: NetworkState) -> str | None:
        """One that no container has, running or not. None: there is none, or the engine chooses
        (a network whose subnet isn't known)."""
        async with self._one_at_a_time[network.id]:
            going = self._rounds.get(network.id)
            found = None if going is None else next(going, None)
            if found is None and network.subnet:
                taken = await self._taken(network.name)
                self._rounds[network.id] = going = free_addresses(network.subnet, taken)
                found = next(going, None)
            if len(self._rounds) > _ROUNDS_KEPT:
                self.forget()
            return found

    def forget(self) -> None:
        """Ask the engine before the next pick: somebody else took one."""
        self._rounds.clear()

    async def clashes(self, container_id: str) -> frozenset[str]:
        """Networks in which another container has, or keeps, the address that this one keeps."""
        raws = await self._calls.read("list containers", "/containers/json", query={"all": "1"})
        return clashing_networks(raws, container_id)

    async def _taken(self, network: str) -> frozenset[str]:
        raws = await self._calls.read(
            f"list what is in network '{network}'",
            "/containers/json",
            query={"all": "1", "filters": json.dumps({"network": [network]})},
        )
        return taken_addresses(raws, network)


def taken_addresses(raws: Iterable[Json], network: str) -> frozenset[str]:
    """Of entries of GET /containers/json: what they have in `network`, or keep for their start."""
    ends = [end for raw in raws for name, end in _ends(raw).items() if name == network]
    return frozenset(each for end in ends for each in (_kept(end), end.get("IPAddress")) if each)


def clashing_networks(raws: Iterable[Json], container_id: str) -> frozenset[str]:
    """As DockerAddresses.clashes, of entries of GET /containers/json."""
    mine: dict[str, str] = {}
    others: set[tuple[str, str]] = set()
    for raw in raws:
        for name, end in _ends(raw).items():
            if raw["Id"] == container_id:
                mine[name] = _kept(end)
            else:
                others |= {(name, _kept(end)), (name, end.get("IPAddress") or "")}
    return frozenset(name for name, kept in mine.items() if kept and (name, kept) in others)


def _ends(raw: Json) -> Mapping[str, Json]:
    """Network -> how the container is in it."""
    found = (raw.get("NetworkSettings") or {}).get("Networks") or {}
    return {name: end for name, end in found.items() if end}


def _kept(end: Json) -> str:
    return (end.get("IPAMConfig") or {}).get("IPv4Address") or ""


def free_addresses(subnet: str, taken: frozenset[str]) -> Iterator[str]:
    """One round through the subnet, but for the first address, which is the gateway's.

    The upper half comes first: whoever lets the engine choose, as earlier releases did and
    administrators do, gets the lowest that is free, and may start before who has it for good. Each
    half begins anywhere: what was given up a moment ago shall not be the next again, as somebody
    may still go by it.
    """
    net = ipaddress.IPv4Network(subnet)
    given = range(int(net.network_address) + 2, int(net.broadcast_address))
    middle = len(given) // 2
    for half in (given[middle:], given[:middle]):
        begin = secrets.randbelow(len(half)) if half else 0
        for number in (*half[begin:], *half[:begin]):
            address = str(ipaddress.IPv4Address(number))
            if address not in taken:
                yield address
