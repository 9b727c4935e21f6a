"""Subnets for namespaces: /24s of one pool, each held by one record.

Pure; rebuilt from `status.allocation.subnet` at start. Docker's own pools end at about 31
networks and collide with the host's routes, which is why the pool is ours.
"""

from collections.abc import Iterable
from ipaddress import IPv4Network
from typing import Final

from controlplane.errors import RetryableError

SUBNET_IN_USE: Final = "SubnetInUse"
"""Reason of a driver's error: something outside has the subnet, though no route told of it."""
PREFIX: Final = 24
"""254 addresses a namespace: more than one host runs containers."""


class SubnetPool:
    """Hands out the lowest free /24 that overlaps nothing the host uses."""

    def __init__(self, pool: str) -> None:
        self._pool = IPv4Network(pool)
        self._held: dict[str, IPv4Network] = {}
        self._refused: set[IPv4Network] = set()

    def load(self, held: Iterable[tuple[str, str]]) -> None:
        """Start over from (uid, CIDR) pairs, as the store has them."""
        self._held = {uid: IPv4Network(subnet) for uid, subnet in held}

    def uids(self) -> frozenset[str]:
        """Of all that hold a subnet."""
        return frozenset(self._held)

    def assign(self, uid: str, avoid: Iterable[str] = ()) -> str:
        """The record's subnet; the same one each time. `avoid`: CIDRs already routed.

        Raises RetryableError when the pool is exhausted.
        """
        if uid in self._held:
            return str(self._held[uid])
        subnet = self._lowest([*self._held.values(), *self._refused, *_networks(avoid)])
        if subnet is not None:
            self._held[uid] = subnet
            return str(subnet)
        # what was refused long ago may be free by now
        self._refused.clear()
        raise RetryableError(
            f"cannot allocate a subnet: every /{PREFIX} of {self._pool} is in use; "
            "delete namespaces or enlarge the pool",
            reason="SubnetsExhausted",
            retry_after_s=60.0,
        )

    def _lowest(self, taken: Iterable[IPv4Network]) -> IPv4Network | None:
        """The lowest that overlaps none of `taken`. By numbers, in one way up: comparing each
        network with each took seconds of the event loop for a pool of thousands."""
        prefix = max(PREFIX, self._pool.prefixlen)
        size = 2 ** (32 - prefix)
        free = int(self._pool.network_address)
        for first, last in sorted(map(_ends, taken)):
            if first >= free + size:
                break
            if last >= free:
                free = (last // size + 1) * size
        if free > int(self._pool.broadcast_address):
            return None
        return IPv4Network((free, prefix))

    def holds(self, uid: str) -> bool:
        return uid in self._held

    def give_up(self, uid: str) -> None:
        """Somebody outside has the record's subnet: it is given another, and nobody this one as
        long as there are others."""
        subnet = self._held.pop(uid, None)
        if subnet is not None:
            self._refused.add(subnet)

    def release(self, uid: str) -> None:
        self._held.pop(uid, None)


def _ends(network: IPv4Network) -> tuple[int, int]:
    """Its first and its last address."""
    first = int(network.network_address)
    return first, first + network.num_addresses - 1


def _networks(routes: Iterable[str]) -> list[IPv4Network]:
    """The IPv4 routes among `routes`, the default route left out: it overlaps everything."""
    found = [IPv4Network(route, strict=False) for route in routes if ":" not in route]
    return [network for network in found if network.prefixlen > 0]
