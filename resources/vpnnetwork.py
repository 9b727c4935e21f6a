"""VpnNetwork: a WireGuard gateway into a namespace's network. No I/O."""

from ipaddress import IPv4Network
from typing import Annotated, ClassVar, Final, Self

from pydantic import AfterValidator, Field, ValidationInfo

from resources._vpnlease import VpnLease
from resources.columns import AGE, REASON, Column, ready
from resources.meta import (
    STORED,
    Bool,
    FieldError,
    Footprint,
    Int,
    KindInfo,
    Port,
    Resource,
    Resources,
    SecretRef,
)
from resources.meta import Spec as BaseSpec
from resources.meta import Status as BaseStatus
from resources.network import Address, Cidr, HostPort, Networks

SIZE: Final = Resources.model_validate({"cpu": "250m", "memory": "64Mi"})
"""wireguard-go and the name server take 5 to 8 MiB at rest. With a tenth of a core, looking at the
interface takes 0.4 s and setting it 0.7 s, and a removed peer is out a second later."""


_NO_HOSTS: Final = IPv4Network("0.0.0.0/8")
"""Means this network, wherever one is; `is_private` as 240.0.0.0/4 is."""


def _subnet(value: str, info: ValidationInfo) -> str:
    net = IPv4Network(value)
    # 253 peers: so many were measured
    if not 24 <= net.prefixlen <= 29:
        raise ValueError(f"{value!r} is of an odd size: write a prefix from /24 to /29")
    odd = net.is_loopback or net.is_link_local
    if info.context != STORED:  # Linux takes some of these, most other systems none
        odd = odd or net.is_reserved or net.overlaps(_NO_HOSTS)
    if not net.is_private or odd:
        raise ValueError(
            f"{value!r} is not for private use: write a part of 10.0.0.0/8, 172.16.0.0/12 or "
            "192.168.0.0/16, such as '10.99.0.0/24'"
        )
    return value


class VpnNetworkSpec(BaseSpec):
    endpoint: HostPort
    """Name or IPv4 address under which clients reach this host, with `:port` only where something
    in between translates it. Example: `vpn.example.org`."""
    subnet: Annotated[Cidr, AfterValidator(_subnet)] = "10.99.0.0/24"
    """IPv4 network inside the tunnel, from /24 to /29; the gateway has its first address. May not
    change. Default: `10.99.0.0/24`."""
    listen_port: Port | None = None
    """UDP port on the host. Default: the one it has, at first one of the pool; told in status.
    Example: `51820`."""
    listen_address: Address = "0.0.0.0"  # noqa: S104  # a gateway is there to be reached
    """IPv4 address of the host to listen on. Default: `0.0.0.0`, every address."""
    routes: Networks = ()
    """IPv4 networks that clients reach through the gateway, besides the tunnel's own and the
    namespace's; `0.0.0.0/0` is everything. Default: none. Example: `[192.168.7.0/24]`."""
    between_peers: Bool = True
    """Whether clients may reach each other. Default: true."""
    dns: Annotated[tuple[Address, ...], Field(max_length=3)] | None = None
    """Name servers told to clients. Default: the gateway itself, which knows the names of the
    namespace's Apps and Databases; an empty list tells none. Example: `[9.9.9.9]`."""
    mtu: Annotated[Int, Field(ge=1280, le=1500)] = 1380
    """Largest packet in the tunnel, in bytes. Default: 1380, which fits most lines."""
    key_revision: Annotated[Int, Field(ge=1)] = 1
    """Another number makes a new key pair for the gateway; every client then needs its new
    configuration. Default: 1."""
    resources: Resources = SIZE
    """CPU and memory of the gateway. Default: 250m and 64Mi."""


class VpnNetworkStatus(BaseStatus):
    endpoint: str | None = None
    """What clients connect to. Example: `vpn.example.org:30001`."""
    gateway: str | None = None
    """The gateway's address in the tunnel. Example: `10.99.0.1`."""
    public_key: str | None = None
    """The gateway's public key."""
    routes: tuple[str, ...] = ()
    """What clients send through the tunnel."""
    dns: tuple[str, ...] = ()
    """Name servers for clients."""
    mode: str | None = None
    """`kernel` or `wireguard-go`: who does the work."""
    image: str | None = None
    """Image the gateway runs from."""
    container: str | None = None
    """Name of the gateway's container."""
    secret_ref: SecretRef | None = None
    """The Secret with the gateway's key pair."""
    peers: Annotated[
        tuple[VpnLease, ...],
        Field(
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            }
        ),
    ] = ()
    """Its VpnPeers: address, key and what is seen of each."""
    connected: int = 0
    """How many of them are connected."""
    seen_time: str | None = None
    """When handshakes and traffic were last told, to the minute, RFC 3339."""


class VpnNetwork(Resource[VpnNetworkSpec, VpnNetworkStatus]):
    """A WireGuard gateway into the namespace's network; VpnPeers are who may connect."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="VpnNetwork",
        plural="vpnnetworks",
        singular="vpnnetwork",
        short_names=("vpn",),
        categories=("all",),
        columns=(
            Column("Subnet", ".spec.subnet", description="Network inside the tunnel"),
            Column("Endpoint", ".status.endpoint", description="What clients connect to"),
            ready("Whether the gateway serves"),
            REASON,
            Column("Peers", ".status.peers", "integer", description="How many VpnPeers it has"),
            Column(
                "Connected", ".status.connected", "integer", description="How many are connected"
            ),
            AGE,
            Column("Mode", ".status.mode", priority=1, description="Who does the work"),
            Column("Key", ".status.publicKey", priority=1, description="The gateway's public key"),
        ),
        needs_namespace_network=True,
        sees_dependents=True,
    )
    spec: VpnNetworkSpec
    status: VpnNetworkStatus = Field(default_factory=VpnNetworkStatus)

    @property
    def secret_name(self) -> str:
        """Name of the Secret with its key pair."""
        return f"{self.metadata.name}-gateway"

    @property
    def gateway(self) -> str:
        """The gateway's own address: the first of the subnet."""
        return str(next(IPv4Network(self.spec.subnet).hosts()))

    @property
    def footprint(self) -> Footprint:
        return self.spec.resources.footprint

    @property
    def host_ports(self) -> tuple[int | None, ...]:
        return (self.spec.listen_port,)

    def check_update(self, old: Self, /) -> tuple[FieldError, ...]:
        if self.spec.subnet == old.spec.subnet:
            return ()
        fix = (
            f"may not change from '{old.spec.subnet}': its clients' addresses lie in it; make a "
            "new VpnNetwork beside it and move the VpnPeers"
        )
        return (FieldError("spec.subnet", "FieldValueForbidden", fix),)
