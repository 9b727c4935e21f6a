"""VpnPeer: a client's key pair and configuration in a Secret, and what its network says of it.

Nothing of it runs anywhere: its VpnNetwork gives it an address, lets it into the gateway and tells
so in status.peers. Its own part is the Secret, and to be gone only when the gateway let it go.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from controlplane.plan import (
    ChildRef,
    EnsureSecret,
    Owned,
    Plan,
    Reconciler,
    RemoveChild,
    Report,
    Resolved,
    SecretReader,
    Wait,
    Want,
)
from drivers.wireguard_keys import public_key_of
from reconcilers._lifecycle import read_own
from reconcilers._secrets import secret_ref, tells_truth, text_of
from reconcilers._vpnconfig import config_text, offer_of, secret_keys, version_of
from resources._vpnlease import VpnLease
from resources.meta import Footprint
from resources.vpnpeer import VpnPeer, VpnPeerStatus

SECRET_TYPE: Final = "bunker.cloud/wireguard"  # noqa: S105  # a type, and no password
REF: Final = "spec.networkRef"
_DISABLING: Final = Wait("Disabling", "the gateway still lets it in: it is being taken out")


@dataclass(frozen=True, slots=True)
class VpnPeerSeen:
    """What its Secret holds, without the secret."""

    public_key: str | None = None
    """None: there is no key pair, or no sound one."""
    secret_true: bool = False
    """Whether everything in it is as it should be."""
    outdated: bool = False
    """Whether its private key is not sound, or not to be there."""
    version: str | None = None
    """Of the configuration in it, if that is right."""


VpnPeerStep = RemoveChild
"""It has no steps of its own: its Secret is the engine's to write."""


@dataclass(frozen=True, slots=True)
class VpnPeerReconciler(Reconciler[VpnPeer, VpnPeerSeen, VpnPeerStep]):
    values: SecretReader

    def children(self, want: VpnPeer, namespace_uid: str, /) -> tuple[ChildRef, ...]:
        return (ChildRef("Secret", want.secret_name),)

    async def observe(self, want: Want[VpnPeer], /) -> VpnPeerSeen:
        record = want.record
        secret = _secret(want)
        config = _config(want)
        if secret is None or not secret.owned:
            return VpnPeerSeen(record.spec.public_key)
        if config is None:
            return VpnPeerSeen(record.status.public_key)
        version = version_of(record, config, secret.content_hmac)
        if record.status.config_version == version:
            # read and found right before, and neither it nor what it should be has changed
            return VpnPeerSeen(record.status.public_key, True, False, version)
        values = await read_own(self.values, want, record.secret_name)
        # drawing the code takes longer than an event loop may be held up
        return await asyncio.to_thread(_judged, record, values or {}, config, version)

    def plan(self, want: Want[VpnPeer], seen: VpnPeerSeen, /) -> Plan[VpnPeerStep]:
        record = want.record
        network = want.refs.get(REF)
        if want.deleting:
            return _removal(want, network)
        if network is None or network.uid is None:
            return Plan(wait=Wait("ReferenceNotFound", network.message if network else ""))
        lease, config = _lease(want), _config(want)
        if lease is None or config is None:
            return Plan(wait=_no_address(record, lease))
        secret = _secret(want)
        if secret is not None and secret.owned and seen.outdated:
            return Plan((RemoveChild("Secret", record.secret_name),))
        if secret is None or not secret.owned or not seen.secret_true:
            keys = secret_keys(record, config)
            renew_on = "revision" if "revision" in keys else ""
            step = EnsureSecret(record.secret_name, keys, type=SECRET_TYPE, renew_on=renew_on)
            return Plan((step,))
        return Plan(wait=_not_served(record, seen, lease, network))

    def status(self, want: Want[VpnPeer], seen: VpnPeerSeen, /) -> Report:
        record = want.record
        lease = _lease(want) or VpnLease(name="", uid="")
        network = want.refs.get(REF)
        offer = network and offer_of(network.spec, network.status)
        status = VpnPeerStatus(
            address=lease.address or record.status.address,
            public_key=seen.public_key,
            endpoint=offer.endpoint if offer else None,
            secret_ref=secret_ref(want),
            config_version=seen.version,
            connected=lease.connected,
            last_handshake=lease.last_handshake,
            received_bytes=lease.received_bytes,
            sent_bytes=lease.sent_bytes,
        )
        reason, message = _readiness(want, seen)
        return Report(status, reason == "Serving", reason, message, in_use=Footprint())

    async def apply(self, step: VpnPeerStep, /) -> None:
        raise AssertionError(f"the engine carries {type(step).__name__} out itself")


def _secret(want: Want[VpnPeer]) -> Owned | None:
    return want.children.get(("Secret", want.record.secret_name))


def _lease(want: Want[VpnPeer]) -> VpnLease | None:
    """What its network has given to this very record."""
    network = want.refs.get(REF)
    for lease in (network.status.get("peers") or ()) if network else ():
        if isinstance(lease, Mapping) and lease.get("uid") == want.record.metadata.uid:
            return _parsed(lease)
    return None


def _parsed(lease: Mapping[str, Any]) -> VpnLease | None:
    try:
        return VpnLease.model_validate(lease)
    except ValidationError:
        return None  # another version wrote it: its network writes it anew


def _config(want: Want[VpnPeer]) -> str | None:
    """The configuration it should have; None while it has no address, or not the one it wants."""
    network, lease = want.refs.get(REF), _lease(want)
    offer = offer_of(network.spec, network.status) if network else None
    if lease is None or lease.address is None or offer is None:
        return None
    if want.record.spec.address not in (None, lease.address):
        return None
    return config_text(want.record, lease.address, offer, behind=lease.allowed_ips)


def _judged(record: VpnPeer, values: Mapping[str, bytes], config: str, version: str) -> VpnPeerSeen:
    """What the Secret's content is worth."""
    text = text_of(values)
    key = record.spec.public_key
    outdated = "privatekey" in text
    if key is None:
        key = _public_key(text)
        outdated = outdated and key is None
    true = key is not None and not outdated and tells_truth(values, secret_keys(record, config))
    return VpnPeerSeen(key, true, outdated, version if true else None)


def _public_key(text: Mapping[str, str]) -> str | None:
    try:
        return public_key_of(text.get("privatekey", ""))
    except ValueError:
        return None


def _removal(want: Want[VpnPeer], network: Resolved | None) -> Plan[VpnPeerStep]:
    """It goes once the gateway has let it go, so that who sees it gone knows that it is out."""
    lease = _lease(want)
    gone = network is None or network.uid is None or lease is None or lease.state == "Removed"
    if not gone:
        name = want.record.spec.network_ref.name
        why = f"waiting for VpnNetwork '{name}' to take it out of its gateway"
        if network is not None and network.spec.get("paused"):
            why = f"VpnNetwork '{name}' is paused, and this is still in its gateway: unpause it"
        return Plan(wait=Wait("Removing", why))
    secret = _secret(want)
    if secret is not None and secret.owned and not secret.deleting:
        return Plan((RemoveChild("Secret", secret.name),))
    return Plan()


def _no_address(record: VpnPeer, lease: VpnLease | None) -> Wait:
    name = record.spec.network_ref.name
    if lease is not None and lease.message and lease.address is None:
        return Wait("Refused", lease.message)
    return Wait("AddressPending", f"waiting for VpnNetwork '{name}' to give it an address")


def _not_served(
    record: VpnPeer, seen: VpnPeerSeen, lease: VpnLease, network: Resolved
) -> Wait | None:
    """What is between a right Secret and a client that may connect; None: nothing more to do."""
    spec = record.spec
    if not spec.enabled:
        return None if lease.state == "Disabled" else _DISABLING
    if lease.message:
        return Wait("Refused", lease.message)
    current = lease.public_key == seen.public_key and set(lease.allowed_ips) == set(
        spec.allowed_ips
    )
    if lease.state == "Serving" and current:
        return None
    if not network.ready:
        return Wait("NetworkNotReady", network.message)
    return Wait("Admitting", f"waiting for the gateway of '{spec.network_ref.name}' to let it in")


def _readiness(want: Want[VpnPeer], seen: VpnPeerSeen) -> tuple[str, str]:
    record, lease, network = want.record, _lease(want), want.refs.get(REF)
    if want.deleting:
        return "Terminating", "it is being removed"
    if network is None or network.uid is None:
        return "ReferenceNotFound", network.message if network else ""
    if not record.spec.enabled:
        if lease is not None and lease.state != "Disabled":
            return _DISABLING.reason, _DISABLING.message
        return "Disabled", "spec.enabled is false: it may not connect"
    if lease is None or _config(want) is None:
        wait = _no_address(record, lease)
        return wait.reason, wait.message
    if not seen.secret_true:
        return "SecretPending", f"Secret '{record.secret_name}' is being written"
    if wait_more := _not_served(record, seen, lease, network):
        return wait_more.reason, wait_more.message
    return "Serving", "the gateway lets it in"
