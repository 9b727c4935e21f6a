"""Bucket: a bucket on an S3 server of the platform, as its record says, and its access keys.

Whose a bucket is, is written on it (tag `bunker.cloud/owner`: namespace UID and record): a name
alone never hands one tenant's objects to another. Not here: the server itself, which is a Platform
record; what its policies say is in _access.py, how a step is done in _bucketsteps.py.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from controlplane.plan import (
    ChildRef,
    EnsureSecret,
    Plan,
    Reconciler,
    RecordStep,
    RemoveChild,
    Report,
    Resolved,
    SecretReader,
    Template,
    Wait,
    Want,
)
from drivers.s3 import (
    S3,
    BucketState,
    Content,
    KeyAnswer,
    QuotaState,
    S3Quotas,
    S3Server,
    UserState,
)
from drivers.s3_documents import CorsRule, LifecycleRule
from reconcilers._access import (
    bucket_policy,
    key_id,
    key_policy,
    secret_keys,
    user_name,
    user_prefix,
)
from reconcilers._bucketsteps import (
    BucketStep,
    BucketSteps,
    EnforceQuotas,
    MakeBucket,
    MakeKey,
    MakeUser,
    RemoveBucket,
    RemoveKey,
    RemoveObjects,
    RemoveUser,
    SetCors,
    SetLifecycle,
    SetPolicy,
    SetQuota,
    SetTags,
    SetVersioning,
    Where,
)
from resources.bucket import OWN_TAGS, AccessKey, Bucket, BucketStatus, KeyStatus
from resources.meta import Condition, SecretRef

OWNER_TAG: Final = OWN_TAGS + "owner"
ADOPT_TAG: Final = OWN_TAGS + "adopt"
"""Set on the server by whoever runs it, to `<namespace>/<record>`: that record may have it."""
MIB: Final = 1 << 20
COUNT_LIMIT: Final = 1000
"""Objects counted for a message: one page of a list."""
RECHECK_S: Final = 120.0
"""A server tells nobody what is done to it."""
QUOTA_RECHECK_S: Final = 60.0
"""How long a bucket may be over its quota before it is closed."""
NOT_EMPTY_RECHECK_S: Final = 30.0

Steps = tuple[BucketStep | RecordStep, ...]


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


@dataclass(frozen=True, slots=True)
class BucketReconciler(Reconciler[Bucket, BucketSeen, BucketStep]):
    s3: S3
    quotas: S3Quotas
    values: SecretReader
    steps: BucketSteps

    def children(self, want: Bucket, namespace_uid: str, /) -> tuple[ChildRef, ...]:
        names = [key.name for key in want.spec.access_keys]
        names += [key.name for key in want.status.access_keys if key.name not in names]
        return tuple(ChildRef("Secret", want.secret_name(name)) for name in names)

    async def observe(self, want: Want[Bucket], /) -> BucketSeen:
        record = want.record
        where = _where(want)
        if where is None:
            return BucketSeen()
        server = await self.steps.login(where)
        name = record.bucket_name
        bucket, users = await asyncio.gather(
            self.s3.observe_bucket(server, name),
            self.s3.list_users(server, user_prefix(record)),
        )
        content = None
        if bucket is not None and (want.deleting or _owner(bucket) is None):
            content = await self.s3.observe_content(server, name, limit=COUNT_LIMIT)
        quota = None
        if bucket is not None and where.container and not want.deleting:
            quota = (await self.quotas.list_quotas(where.container)).get(name)
        keys: dict[str, KeySeen] = {}
        for key in () if want.deleting else record.spec.access_keys:
            keys[key.name] = await self._key(want, server, key, users)
        return BucketSeen(where, server.region, bucket, content, keys, users, quota)

    async def _key(
        self, want: Want[Bucket], server: S3Server, key: AccessKey, users: tuple[str, ...]
    ) -> KeySeen:
        record = want.record
        user = None
        if (name := user_name(record, key.name)) in users:
            user = await self.s3.observe_user(server, name)
        values = await self.values.read(
            "Secret", record.metadata.namespace, record.secret_name(key.name)
        )
        if values is None:
            return KeySeen(user)
        true = _tells_truth(want, key, server.region, values)
        mine = S3Server(
            server.endpoint,
            key_id(record, key),
            values.get("secret-key", b"").decode(errors="replace"),
            server.region,
        )
        if not mine.secret_key:
            return KeySeen(user, true, "refused")
        return KeySeen(user, true, await self.s3.observe_key(mine, record.bucket_name))

    def plan(self, want: Want[Bucket], seen: BucketSeen, /) -> Plan[BucketStep]:
        if want.deleting:
            return _plan_removal(want, seen)
        if seen.where is None:
            return Plan(wait=_no_server(want))
        if seen.bucket is None:
            made = MakeBucket(seen.where, want.record.bucket_name)
            return Plan((made, SetTags(made.where, made.name, _tags(want))))
        if not _takes(want, seen):
            return Plan(wait=_taken(want))
        if steps := (*_settings(want, seen.where, seen.bucket), *_quota(want, seen)):
            return Plan(steps)
        steps = _strays(want, seen.where, seen.users)
        for key in want.record.spec.access_keys:
            found = (seen.keys or {}).get(key.name, KeySeen())
            steps += _key_steps(want, seen.where, key, found, seen.region)
        return Plan(steps)

    def status(self, want: Want[Bucket], seen: BucketSeen, /) -> Report:
        record = want.record
        known = [key for key in record.spec.access_keys if _child(want, key.name) is not None]
        wanted = {key.name for key in record.spec.access_keys}
        leaving = [
            key
            for key in record.status.access_keys
            if key.name not in wanted and _child(want, key.name) is not None
        ]
        names = [(key.name, key_id(record, key)) for key in known]
        names += [(key.name, key.access_key) for key in leaving]
        reason, message = _readiness(want, seen)
        serving = reason == "Serving"
        mine = seen.bucket is not None and _takes(want, seen)
        status = BucketStatus(
            # it was ours: kept while its server is away, so that it is known again
            bucket=record.bucket_name if mine else record.status.bucket,
            endpoint=_endpoint(want),
            secret_ref=SecretRef(name=record.secret_name(names[0][0])) if names else None,
            access_keys=tuple(
                KeyStatus(
                    name=name,
                    access_key=identity,
                    secret_ref=SecretRef(name=record.secret_name(name)),
                )
                for name, identity in names
            ),
            used=seen.quota.used_bytes if seen.quota else None,
            quota=(seen.quota.quota_bytes or None) if seen.quota else None,
        )
        return Report(
            status,
            serving,
            reason,
            message,
            conditions=() if seen.bucket is None else (_supported(want, seen, seen.bucket),),
            recheck_after_s=_recheck_s(record) if serving else None,
        )

    async def apply(self, step: BucketStep, /) -> None:
        await self.steps.apply(step)


# --- where ---------------------------------------------------------------------------------------


def _service(want: Want[Bucket]) -> Resolved | None:
    return want.services.get(want.record.spec.server)


def _where(want: Want[Bucket]) -> Where | None:
    service = _service(want)
    if service is None or service.binding is None:
        return None
    endpoint = (service.status.get("endpoints") or {}).get("s3")
    if not endpoint:
        return None
    url = endpoint if "://" in endpoint else f"http://{endpoint}"
    return Where(url, service.binding.secret_name, str(service.status.get("containerId") or ""))


def _endpoint(want: Want[Bucket]) -> str | None:
    """As the namespace's Apps reach it."""
    service = _service(want)
    address = service.status.get("address") if service else None
    if not address:
        return want.record.status.endpoint
    return str(address) if "://" in str(address) else f"http://{address}"


def _no_server(want: Want[Bucket]) -> Wait:
    service = _service(want)
    name = want.record.spec.server
    message = (service.message if service else "") or f"Platform '{name}' does not run yet"
    return Wait("ServiceNotReady", message, 10.0)


# --- whose ---------------------------------------------------------------------------------------


def _mark(want: Want[Bucket]) -> str:
    return f"{want.namespace_uid}/{want.record.metadata.name}"


def _owner(bucket: BucketState) -> str | None:
    return dict(bucket.tags).get(OWNER_TAG)


def _takes(want: Want[Bucket], seen: BucketSeen) -> bool:
    """Whether it is this record's, or free for it to take."""
    bucket = seen.bucket
    assert bucket is not None
    owner = _owner(bucket)
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


def _taken(want: Want[Bucket]) -> Wait:
    meta = want.record.metadata
    message = (
        f"bucket '{want.record.bucket_name}' is on the server already and is not this record's; "
        f"set another spec.bucketName, or have an administrator tag it "
        f"{ADOPT_TAG}={meta.namespace}/{meta.name}"
    )
    return Wait("BucketTaken", message, RECHECK_S)


# --- how it is set up ----------------------------------------------------------------------------


def _tags(want: Want[Bucket]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted({**want.record.spec.tags, OWNER_TAG: _mark(want)}.items()))


def _lifecycle(record: Bucket) -> tuple[LifecycleRule, ...]:
    return tuple(
        sorted(
            LifecycleRule(
                rule.name,
                rule.prefix,
                rule.expire_days or 0,
                rule.noncurrent_days or 0,
                rule.abort_upload_days or 0,
            )
            for rule in record.spec.lifecycle
        )
    )


def _cors(record: Bucket) -> tuple[CorsRule, ...]:
    return tuple(
        CorsRule(
            rule.origins, rule.methods, rule.headers, rule.expose_headers, rule.max_age_seconds
        )
        for rule in record.spec.cors
    )


def _settings(want: Want[Bucket], where: Where, bucket: BucketState) -> Steps:
    """What of the bucket itself has to be set right."""
    record, name, lacks = want.record, bucket.name, bucket.lacks
    steps: Steps = ()
    if "tags" not in lacks and bucket.tags != (tags := _tags(want)):
        steps += (SetTags(where, name, tags),)
    versioning = bucket.versioning == "Enabled"
    if "versioning" not in lacks and versioning != record.spec.versioning:
        steps += (SetVersioning(where, name, record.spec.versioning),)
    if "policy" not in lacks and bucket.policy != (policy := bucket_policy(record)):
        steps += (SetPolicy(where, name, policy),)
    if "lifecycle" not in lacks and bucket.lifecycle != (rules := _lifecycle(record)):
        steps += (SetLifecycle(where, name, rules),)
    if "cors" not in lacks and bucket.cors != (cors := _cors(record)):
        steps += (SetCors(where, name, cors),)
    return steps


def _quota(want: Want[Bucket], seen: BucketSeen) -> Steps:
    if seen.quota is None or seen.where is None:
        return ()
    wanted = -(-(want.record.spec.quota or 0) // MIB) * MIB
    if seen.quota.quota_bytes != wanted:
        return (SetQuota(seen.where, want.record.bucket_name, wanted),)
    return (EnforceQuotas(seen.where),) if seen.quota.due else ()


def _supported(want: Want[Bucket], seen: BucketSeen, bucket: BucketState) -> Condition:
    spec = want.record.spec
    asked = {
        "versioning": spec.versioning,
        "policy": bool(bucket_policy(want.record)),
        "lifecycle": bool(spec.lifecycle),
        "cors": bool(spec.cors),
        "tags": bool(spec.tags),
    }
    lacking = [name for name, wanted in asked.items() if wanted and name in bucket.lacks]
    if spec.quota is not None and seen.quota is None:
        lacking.append("quota")
    if not lacking:
        return Condition(type="Supported", status="True", reason="AllSupported")
    message = f"this server has no {', '.join(lacking)}; all else is set"
    return Condition(type="Supported", status="False", reason="NotSupported", message=message)


# --- its keys ------------------------------------------------------------------------------------


def _child(want: Want[Bucket], key: str) -> str | None:
    """Name of the key's Secret, if it is there and ours."""
    name = want.record.secret_name(key)
    child = want.children.get(("Secret", name))
    return name if child is not None and child.owned else None


def _secret(want: Want[Bucket], key: AccessKey, region: str) -> EnsureSecret:
    record = want.record
    return EnsureSecret(
        record.secret_name(key.name),
        secret_keys(record, key, _endpoint(want) or "", region),
        type="servicebinding.io/s3",
        renew_on="access-key",
    )


def _tells_truth(
    want: Want[Bucket], key: AccessKey, region: str, values: Mapping[str, bytes]
) -> bool:
    text = {name: value.decode(errors="surrogateescape") for name, value in values.items()}
    return all(
        text.get(name) == (wanted.composed(text) if isinstance(wanted, Template) else wanted)
        for name, wanted in _secret(want, key, region).keys.items()
        if isinstance(wanted, str | Template)
    )


def _key_steps(
    want: Want[Bucket], where: Where, key: AccessKey, found: KeySeen, region: str
) -> Steps:
    """The user first: whoever takes over after a crash finds by it what there is of a key."""
    record = want.record
    user, identity = user_name(record, key.name), key_id(record, key)
    policy = key_policy(record.bucket_name, key)
    steps: Steps = ()
    state = found.user
    if state is None or state.policy != policy or state.extra_policies:
        steps += (MakeUser(where, user, policy),)
    fresh = _child(want, key.name) is None
    if fresh or not found.secret_true or found.answer is None:
        steps += (_secret(want, key, region),)
    keys = dict(state.keys) if state else {}
    if fresh or not keys.get(identity, False) or found.answer == "refused":
        namespace, secret = record.metadata.namespace, record.secret_name(key.name)
        steps += (MakeKey(where, user, identity, namespace, secret),)
    # keys nobody asked for: the one before a rotation, or one that a user made for itself
    return (*steps, *(RemoveKey(where, user, each) for each in keys if each != identity))


def _strays(want: Want[Bucket], where: Where, users: tuple[str, ...]) -> Steps:
    """Keys that are no longer in the spec: their Secrets, then their users."""
    record = want.record
    wanted = {key.name for key in record.spec.access_keys}
    prefix = user_prefix(record)
    gone = {user.removeprefix(prefix) for user in users} - wanted
    listed = {key.name for key in record.status.access_keys} - wanted
    steps: Steps = ()
    for name in sorted(gone | {each for each in listed if _child(want, each)}):
        child = want.children.get(("Secret", record.secret_name(name)))
        if child is None or (child.owned and not child.deleting):
            steps += (RemoveChild("Secret", record.secret_name(name)),)
        if name in gone:
            steps += (RemoveUser(where, prefix + name),)
    return steps


# --- its end -------------------------------------------------------------------------------------


def _plan_removal(want: Want[Bucket], seen: BucketSeen) -> Plan[BucketStep]:
    record = want.record
    keep = record.spec.deletion_policy == "Retain"
    secrets: Steps = tuple(
        RemoveChild(child.kind, child.name)
        for child in want.children.values()
        if child.owned and not child.deleting
    )
    if seen.where is None:
        service = _service(want)
        if keep and (service is None or service.uid is None):
            return Plan(secrets)  # its users went with their server
        return Plan(wait=_no_server(want))
    where, bucket = seen.where, seen.bucket
    if not keep and bucket is not None and _takes(want, seen):
        content = seen.content or Content(0, 0, more=False)
        if content.empty:
            return Plan((RemoveBucket(where, bucket.name),))
        if record.spec.force_delete:
            return Plan((RemoveObjects(where, bucket.name), RemoveBucket(where, bucket.name)))
        return Plan(wait=_not_empty(bucket.name, content))
    return Plan((*secrets, *(RemoveUser(where, user) for user in seen.users)))


def _not_empty(name: str, content: Content) -> Wait:
    more = "at least " if content.more else ""
    uploads = f" and {content.uploads} unfinished uploads" if content.uploads else ""
    message = (
        f"bucket '{name}' still holds {more}{content.objects} objects (old versions and delete "
        f"markers count){uploads}; empty it, or set spec.forceDelete to destroy them, or "
        "spec.deletionPolicy to Retain"
    )
    return Wait("BucketNotEmpty", message, NOT_EMPTY_RECHECK_S)


# --- how it is -----------------------------------------------------------------------------------


def _recheck_s(record: Bucket) -> float:
    return QUOTA_RECHECK_S if record.spec.quota else RECHECK_S


def _readiness(want: Want[Bucket], seen: BucketSeen) -> tuple[str, str]:
    if want.deleting:
        wait = _plan_removal(want, seen).wait
        return (wait.reason, wait.message) if wait else ("Terminating", "it is being removed")
    if seen.where is None:
        return "ServiceNotReady", _no_server(want).message
    if seen.bucket is None:
        return "NotCreated", "it is not on the server yet"
    if not _takes(want, seen):
        return "BucketTaken", _taken(want).message
    for name, key in (seen.keys or {}).items():
        if key.answer != "valid":
            return "KeyPending", f"access key '{name}' does not open it yet"
    return "Serving", "it is there, and its keys open it"
