"""Which address a container gets in a network: one of its own, for as long as it exists.

Left to itself the engine gives another one at each start. After its own restart, containers then
have each other's: whoever goes by addresses, as the ingress does, would send one App's requests to
another until it is told. An address that was asked for is kept over every restart.
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

_BOOKS_KEPT: Final = 1024
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
            if len(self._rounds) > _BOOKS_KEPT:
                self.forget()
            return found

    def forget(self) -> None:
        """Ask the engine before the next pick: somebody else took one."""
        self._rounds.clear()

    async def _taken(self, network: str) -> frozenset[str]:
        raws = await self._calls.read(
            f"list what is in network '{network}'",
            "/containers/json",
            query={"all": "1", "filters": json.dumps({"network": [network]})},
        )
        return taken_addresses(raws, network)


def taken_addresses(raws: Iterable[Mapping[str, Any]], network: str) -> frozenset[str]:
    """Of entries of GET /containers/json: what they have in `network`, or keep for their start."""
    ends = [(raw.get("NetworkSettings") or {}).get("Networks") or {} for raw in raws]
    here = [end[network] for end in ends if end.get(network)]
    kept = [(end.get("IPAMConfig") or {}).get("IPv4Address", "") for end in here]
    return frozenset(each for each in (*kept, *(end.get("IPAddress", "") for end in here)) if each)


def free_addresses(subnet: str, taken: frozenset[str]) -> Iterator[str]:
    """One round through the subnet, but for the first address, which is the gateway's. Begins
    anywhere: what was given up a moment ago must not be the next again, as somebody may still go
    by it."""
    net = ipaddress.IPv4Network(subnet)
    first, count = int(net.network_address) + 2, net.num_addresses - 3
    begin = secrets.randbelow(count) if count > 0 else 0
    for step in range(count):
        address = str(ipaddress.IPv4Address(first + (begin + step) % count))
        if address not in taken:
            yield address
