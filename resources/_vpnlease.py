"""What a VpnNetwork gives to a VpnPeer: in the status of the one, read by the other. No I/O."""

from typing import Annotated, Literal

from pydantic import Field

from resources.meta import Model

PeerState = Literal["Pending", "Serving", "Disabled", "Refused", "Removed"]


class VpnLease(Model):
    """What the network has given to one VpnPeer, and what is seen of it."""

    name: str
    """Name of the VpnPeer."""
    uid: str
    """Its uid: another VpnPeer of the same name gets a lease of its own."""
    address: str | None = None
    """Its address in the tunnel, for as long as the record lives."""
    allowed_ips: Annotated[tuple[str, ...], Field(alias="allowedIPs")] = ()
    """Networks behind it that are its own."""
    public_key: str | None = None
    """The key that the gateway lets in for it."""
    state: PeerState = "Pending"
    """`Pending`, `Serving`, `Disabled`, `Refused` or `Removed` (from the gateway, while the
    record is being deleted)."""
    message: str = ""
    """What it asked for and didn't get, and who has it."""
    connected: bool = False
    """Whether it had a handshake in the last three minutes."""
    last_handshake: str | None = None
    """When it last had one, to the minute, RFC 3339."""
    received_bytes: int = 0
    """Bytes from it since the gateway started, rounded down to two digits."""
    sent_bytes: int = 0
    """Bytes to it since the gateway started, rounded down to two digits."""
