"""A client's configuration, as `wg-quick` and the WireGuard apps read it, and its QR code.

Pure, and without a value: the private key's place is `{privatekey}`, filled at apply. Format:
https://git.zx2c4.com/wireguard-tools/about/src/man/wg-quick.8
"""

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network
from typing import Any, Final

from controlplane.plan import Derived, Generated, SecretValue, Template
from drivers.wireguard_keys import public_key_of
from resources.vpnpeer import VpnPeer

CONFIG: Final = "wg0.conf"
"""Key of the Secret; `wg-quick up ./wg0.conf` names the interface after it."""
QR_ERROR: Final = "m"
"""15 % of a QR code may be unreadable: a photographed screen; and a whole configuration still fits
in half the largest code (ISO/IEC 18004)."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a VpnNetwork's status offers a client."""

    endpoint: str
    public_key: str
    routes: tuple[str, ...]
    dns: tuple[str, ...]
    mtu: int


def offer_of(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Offer | None:
    """None while the network doesn't know yet what it offers."""
    endpoint, public_key = status.get("endpoint"), status.get("publicKey")
    if not endpoint or not public_key:
        return None
    return Offer(
        str(endpoint),
        str(public_key),
        tuple(status.get("routes") or ()),
        tuple(status.get("dns") or ()),
        int(spec.get("mtu") or 1380),
    )


def config_text(record: VpnPeer, address: str, offer: Offer, *, behind: Sequence[str]) -> str:
    """wg0.conf with `{privatekey}`, or a note in its place where somebody else keeps the key.
    `behind` are the networks behind the client that it was given."""
    spec = record.spec
    key = "PrivateKey = {privatekey}"
    if spec.public_key is not None:
        key = f"# PrivateKey = the one that belongs to {spec.public_key}"
    lines = ["[Interface]", key, f"Address = {address}/32"]
    if offer.dns:
        lines += [f"DNS = {', '.join(offer.dns)}"]
    lines += [f"MTU = {offer.mtu}", "", "[Peer]", f"PublicKey = {offer.public_key}"]
    routes = _routes(offer, behind) if spec.routes is None else spec.routes
    lines += [f"AllowedIPs = {', '.join(routes)}"] if routes else []
    lines += [f"Endpoint = {offer.endpoint}"]
    if spec.keepalive:
        lines += [f"PersistentKeepalive = {spec.keepalive}"]
    return "\n".join([*lines, ""])


def _routes(offer: Offer, behind: Sequence[str]) -> tuple[str, ...]:
    """What is offered, without what the client has itself: by its kernel's table it would send its
    own network into the tunnel. What is wider stays: the narrower route to its network wins."""
    own = [IPv4Network(network) for network in behind]
    return tuple(
        route
        for route in offer.routes
        if not any(IPv4Network(route).subnet_of(network) for network in own)
    )


def secret_keys(record: VpnPeer, config: str) -> dict[str, SecretValue]:
    """Keys of the client's Secret."""
    if record.spec.public_key is not None:
        return {CONFIG: config, "publickey": record.spec.public_key}
    return {
        "privatekey": Generated(form="x25519"),
        "revision": str(record.spec.key_revision),
        CONFIG: Template(config),
        "publickey": Derived(derive_public_key),
        "qr.png": Derived(qr_png),
        "qr.svg": Derived(qr_svg),
        "qr.txt": Derived(qr_text),
    }


def version_of(record: VpnPeer, config: str, content: str) -> str:
    """Tells one configuration from another, by the keyed digest of the Secret's content."""
    parts = f"{config}\n{record.spec.key_revision}\n{content}"
    return hashlib.sha256(parts.encode()).hexdigest()[:24]


def derive_public_key(values: Mapping[str, str]) -> str:
    """The Secret's public half."""
    return public_key_of(values.get("privatekey", ""))


def qr_png(values: Mapping[str, str]) -> str:
    """The configuration as a picture."""
    return _drawn(values, kind="png", scale=4).decode("utf-8", "surrogateescape")


def qr_svg(values: Mapping[str, str]) -> str:
    """The configuration as a drawing."""
    return _drawn(values, kind="svg", scale=4).decode()


def qr_text(values: Mapping[str, str]) -> str:
    """The configuration in block characters, for a terminal: dark on light."""
    out = io.StringIO()
    _code(values.get(CONFIG, "")).terminal(out, compact=True)
    return out.getvalue()


def _drawn(values: Mapping[str, str], *, kind: str, scale: int) -> bytes:
    out = io.BytesIO()
    _code(values.get(CONFIG, "")).save(out, kind=kind, scale=scale)
    return out.getvalue()


@lru_cache(maxsize=1)
def _code(text: str) -> Any:
    """The three pictures of a configuration are drawn one after the other, and it costs 20 ms."""
    # Imported where it is used: few passes make a code.
    import segno

    return segno.make_qr(text, error=QR_ERROR)
