"""VpnPeer: somebody who may connect to a VpnNetwork. No I/O."""

import base64
import binascii
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field

from resources.columns import AGE, REASON, Column, ready
from resources.meta import (
    Bool,
    FieldError,
    Int,
    KindInfo,
    Ref,
    Resource,
    SecretRef,
)
from resources.meta import Spec as BaseSpec
from resources.meta import Status as BaseStatus
from resources.network import Address, Cidr, Networks


def _key(value: str) -> str:
    try:
        raw = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    # one spelling only: two that mean the same key would be taken for two keys
    if len(raw) != 32 or base64.b64encode(raw).decode() != value:
        raise ValueError(
            f"{value[:64]!r} is not a WireGuard public key: write what `wg pubkey` prints, 44 "
            "characters of base64"
        )
    return value


def _behind(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if int(value.rpartition("/")[2]) < 8:
            raise ValueError(
                f"'{value}' is too much to be behind one client: write prefixes of /8 or longer; "
                "what a client reaches through the tunnel is spec.routes"
            )
    return values


class VpnPeerSpec(BaseSpec):
    network_ref: Ref
    """The VpnNetwork of the same namespace that it connects to. May not change."""
    address: Address | None = None
    """Its IPv4 address in the tunnel. Default: the lowest that is free, kept for as long as the
    record lives. Example: `10.99.0.7`."""
    public_key: Annotated[str, AfterValidator(_key)] | None = None
    """Public key of a key pair that somebody else keeps. Default: a key pair is made, and the
    Secret has a whole client configuration with a QR code.
    Example: `Qmr6iheIC/kY4ojNJTO89wmazCcGRMWgt2MTd3jvOjc=`."""
    allowed_ips: Annotated[
        Networks, Field(alias="allowedIPs", max_length=8), AfterValidator(_behind)
    ] = ()
    """IPv4 networks behind this client, beyond its own address; no two peers of a network share
    one. Default: none. Example: `[192.168.7.0/24]`."""
    routes: Annotated[tuple[Cidr, ...], Field(max_length=16)] | None = None
    """What its configuration sends through the tunnel; what the gateway then lets through is the
    VpnNetwork's business. Default: what the VpnNetwork offers, without what is in allowedIPs.
    Example: `[0.0.0.0/0]`."""
    keepalive: Annotated[Int, Field(ge=0, le=65535)] = 25
    """Seconds between empty packets that keep a way through address translation open; 0: none.
    Default: 25."""
    enabled: Bool = True
    """Whether it may connect; false keeps its address and its keys. Default: true."""
    key_revision: Annotated[Int, Field(ge=1)] = 1
    """Another number makes a new key pair, and lets the old one in no more. Default: 1."""


class VpnPeerStatus(BaseStatus):
    address: str | None = None
    """Its address in the tunnel. Example: `10.99.0.2`."""
    public_key: str | None = None
    """Its public key."""
    endpoint: str | None = None
    """Where it connects to. Example: `vpn.example.org:30001`."""
    secret_ref: SecretRef | None = None
    """The Secret with its configuration: `wg0.conf`, and where the key pair was made here
    `privatekey` and the QR code as `qr.png`, `qr.svg` and `qr.txt`."""
    config_version: str | None = None
    """Another value: the configuration has changed and should be fetched anew."""
    connected: bool = False
    """Whether it had a handshake in the last three minutes."""
    last_handshake: str | None = None
    """When it last had one, to the minute, RFC 3339."""
    received_bytes: int = 0
    """Bytes from it since the gateway started, rounded down to two digits."""
    sent_bytes: int = 0
    """Bytes to it since the gateway started, rounded down to two digits."""


class VpnPeer(Resource[VpnPeerSpec, VpnPeerStatus]):
    """A device or a network that may connect to a VpnNetwork; its configuration is in a Secret."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="VpnPeer",
        plural="vpnpeers",
        singular="vpnpeer",
        short_names=("peer",),
        categories=("all",),
        columns=(
            Column("Network", ".spec.networkRef.name", description="What it connects to"),
            Column("Address", ".status.address", description="Its address in the tunnel"),
            ready("Whether the gateway lets it in"),
            REASON,
            Column("Connected", ".status.connected", "boolean", description="Whether it is there"),
            Column("Handshake", ".status.lastHandshake", "date", description="Since when"),
            AGE,
            Column("Received", ".status.receivedBytes", "integer", 1, "Bytes from it, rounded"),
            Column("Sent", ".status.sentBytes", "integer", 1, "Bytes to it, rounded"),
            Column("Secret", ".status.secretRef.name", priority=1, description="Configuration"),
        ),
        refs=(("spec.networkRef", "VpnNetwork"),),
    )
    spec: VpnPeerSpec
    status: VpnPeerStatus = Field(default_factory=VpnPeerStatus)

    @property
    def secret_name(self) -> str:
        """Name of the Secret with its configuration."""
        return f"{self.metadata.name}-vpn"

    def check_update(self, old: Self, /) -> tuple[FieldError, ...]:
        if self.spec.network_ref == old.spec.network_ref:
            return ()
        fix = (
            f"may not change from '{old.spec.network_ref.name}': its address belongs to that "
            "network; make a new VpnPeer"
        )
        return (FieldError("spec.networkRef", "FieldValueForbidden", fix),)
