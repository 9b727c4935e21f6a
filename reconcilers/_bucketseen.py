"""What is seen of a Bucket: on which server, whose it is there, and its keys. Pure.

Whose a bucket is, is written on it (tag `bunker.cloud/owner`: namespace UID and record): a name
alone never hands one tenant's objects to another.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from controlplane.plan import Resolved, Wait, Want
from drivers.s3 import BucketState, Content, KeyAnswer, QuotaState, UserState
from reconcilers._bucketsteps import Where
from resources.bucket import OWN_TAGS, Bucket

OWNER_TAG: Final = OWN_TAGS + "owner"
ADOPT_TAG: Final = OWN_TAGS + "adopt"
"""Set on the server by whoever runs it, to `<namespace>/<record>`: that record may have it."""
TAKEN_RECHECK_S: Final = 120.0
"""Nobody tells when a bucket is freed or tagged on its server."""


@dataclass(frozen=True, slots=True)
class KeySeen:
    """One of its keys."""

    user: UserState | None = None
    secret_true: bool = False
    """Its Secret says what it should."""
    answer: KeyAnswer | None = None
    """What the server says to it; None: not tried."""


@dataclass(frozen=True, slots=True)
class BucketSeen:
    """What the server has of it."""

    where: Where | None = None
    """None: the service runs nowhere yet."""
    region: str = ""
    bucket: BucketState | None = None
    content: Content | None = None
    """Counted only where something depends on it."""
    keys: Mapping[str, KeySeen] | None = None
    """By name, of the keys in the spec."""
    users: tuple[str, ...] = ()
    """Names of all its users on the server."""
    quota: QuotaState | None = None
    """None: the server has no quotas, or there is no bucket."""


# --- where ---------------------------------------------------------------------------------------


def service_of(want: Want[Bucket]) -> Resolved | None:
    return want.services.get(want.record.spec.server)


def where_is(want: Want[Bucket]) -> Where | None:
    service = service_of(want)
    if service is None or service.binding is None:
        return None
    endpoint = (service.status.get("endpoints") or {}).get("s3")
    if not endpoint:
        return None
    url = endpoint if "://" in endpoint else f"http://{endpoint}"
    return Where(url, service.binding.secret_name, str(service.status.get("containerId") or ""))


def endpoint_for_apps(want: Want[Bucket]) -> str | None:
    """As the namespace's Apps reach it."""
    service = service_of(want)
    address = service.status.get("address") if service else None
    if not address:
        return want.record.status.endpoint
    return str(address) if "://" in str(address) else f"http://{address}"


def no_server(want: Want[Bucket]) -> Wait:
    service = service_of(want)
    name = want.record.spec.server
    message = (service.message if service else "") or f"Platform '{name}' does not run yet"
    return Wait("ServiceNotReady", message, 10.0)


# --- whose ---------------------------------------------------------------------------------------


def _mark(want: Want[Bucket]) -> str:
    return f"{want.namespace_uid}/{want.record.metadata.name}"


def owner_of(bucket: BucketState) -> str | None:
    return dict(bucket.tags).get(OWNER_TAG)


def takes(want: Want[Bucket], seen: BucketSeen) -> bool:
    """Whether it is this record's, or free for it to take."""
    bucket = seen.bucket
    assert bucket is not None
    owner = owner_of(bucket)
    if owner is not None and owner == _mark(want):
        return True
    meta = want.record.metadata
    if dict(bucket.tags).get(ADOPT_TAG) == f"{meta.namespace}/{meta.name}":
        return True
    if owner is not None:
        return False
    # unmarked: it was ours and lost its mark, or nothing in it can be anybody's loss
    was_ours = want.record.status.bucket == want.record.bucket_name
    return was_ours or (seen.content is not None and seen.content.empty)


def taken(want: Want[Bucket]) -> Wait:
    meta = want.record.metadata
    message = (
        f"bucket '{want.record.bucket_name}' is on the server already and is not this record's; "
        f"set another spec.bucketName, or have an administrator tag it "
        f"{ADOPT_TAG}={meta.namespace}/{meta.name}"
    )
    return Wait("BucketTaken", message, TAKEN_RECHECK_S)


def tags_for(want: Want[Bucket]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted({**want.record.spec.tags, OWNER_TAG: _mark(want)}.items()))
