"""What a WireGuard gateway does: its peers, addresses, routes and firewall."""

from typing import Final

from tests.containers import docker
from tests.integration.crashes.holding import At, Holding

SHOW: Final = (
    "wg show wg0 dump; echo; iptables -S; echo; ip -o -4 addr show dev wg0; ip -4 route show dev "
    "wg0; cat /sys/class/net/wg0/mtu"
)
NO_KEY: Final = "(none)"
"""As wg tells it of an interface that has just been made."""


def tunnel(at: At) -> Holding:
    """Raises OSError while it has no interface with a key."""
    dump, _, rest = docker("exec", at.state.id, "sh", "-c", SHOW, check=False).partition("\n\n")
    first, *rows = [line.split("\t") for line in dump.splitlines()] or [[]]
    if len(first) < 3 or first[1] == NO_KEY:
        raise OSError("no interface yet, or one without its key")
    # of a peer: its public key, a preshared key, where it is, its addresses, and counters
    peers = {row[0]: sorted(row[3].split(",")) for row in rows}
    aliases = {key: f"<key of {' '.join(addresses)}>" for key, addresses in peers.items()}
    return Holding(
        things=frozenset([f"gateway[{first[1]}", *(f"peer[{key}" for key in peers)]),
        tree=lambda: {"peers": peers, "port": first[2], "set": rest.splitlines()},
        aliases={first[1]: "<key of the gateway>", **aliases},
    )
