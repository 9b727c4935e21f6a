"""Bucket: a bucket on an S3 server of the platform, as its record says, and its access keys.

Not here: the server itself, which is a Platform record. Whose a bucket is, is in _bucketseen.py,
its keys in _bucketkeys.py, what policies say in _access.py, how a step is done in _bucketsteps.py.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

from controlplane.plan import (
    ChildRef,
    Plan,
    Reconciler,
    RemoveChild,
    Report,
    SecretReader,
    Wait,
    Want,
)
from drivers.s3 import S3, BucketState, Content, S3Quotas, S3Server
from drivers.s3_documents import CorsRule, LifecycleRule
from reconcilers._access import bucket_policy, key_id, user_name, user_prefix
from reconcilers._bucketkeys import Steps, key_secret, key_steps, secret_of, strays
from reconcilers._bucketseen import (
    BucketSeen,
    KeySeen,
    endpoint_for_apps,
    no_server,
    owner_of,
    service_of,
    tags_for,
    taken,
    takes,
    where_is,
)
from reconcilers._bucketsteps import (
    BucketStep,
    BucketSteps,
    EnforceQuotas,
    MakeBucket,
    RemoveBucket,
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
from reconcilers._lifecycle import read_own
from reconcilers._secrets import tells_truth
from resources.bucket import AccessKey, Bucket, BucketStatus, KeyStatus
from resources.meta import Condition, SecretRef

MIB: Final = 1 << 20
COUNT_LIMIT: Final = 1000
"""Objects counted for a message: one page of a list."""
QUOTA_RECHECK_S: Final = 60.0
"""How long a bucket may be over its quota before it is closed."""
LISTED_S: Final = 300.0
"""How old the quotas may be that a bucket without one is compared with: all buckets of a server are
listed at once, and one list serves them all."""
NOT_EMPTY_RECHECK_S: Final = 30.0


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
        where = where_is(want)
        if where is None:
            return BucketSeen()
        server = await self.steps.login(where)
        name = record.bucket_name
        bucket, users = await asyncio.gather(
            self.s3.observe_bucket(server, name), self._users(want, server)
        )
        content = None
        if bucket is not None and (want.deleting or owner_of(bucket) is None):
            content = await self.s3.observe_content(server, name, limit=COUNT_LIMIT)
        quota = None
        if bucket is not None and where.container and _may_have_quota(record):
            max_age_s = 0.0 if _has_quota(record) else LISTED_S
            listed = await self.quotas.list_quotas(where.container, max_age_s=max_age_s)
            quota = listed.get(name)
        keys: dict[str, KeySeen] = {}
        for key in () if want.deleting else record.spec.access_keys:
            keys[key.name] = await self._key(want, server, key, users)
        return BucketSeen(where, server.region, bucket, content, keys, users, quota)

    async def _users(self, want: Want[Bucket], server: S3Server) -> tuple[str, ...]:
        """Names of its users. Once a pass has ended well for this spec, those of its keys are all:
        listing is as long as the server has users, of all tenants."""
        record = want.record
        if _settled(record) and not want.deleting:
            return tuple(user_name(record, key.name) for key in record.spec.access_keys)
        return await self.s3.list_users(server, user_prefix(record))

    async def _key(
        self, want: Want[Bucket], server: S3Server, key: AccessKey, users: tuple[str, ...]
    ) -> KeySeen:
        record = want.record
        user = None
        if (name := user_name(record, key.name)) in users:
            user = await self.s3.observe_user(server, name)
        values = await read_own(self.values, want, record.secret_name(key.name))
        if values is None:
            return KeySeen(user)
        true = tells_truth(values, key_secret(want, key, server.region).keys)
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
            return Plan(wait=no_server(want))
        if seen.bucket is None:
            made = MakeBucket(seen.where, want.record.bucket_name)
            return Plan((made, SetTags(made.where, made.name, tags_for(want))))
        if not takes(want, seen):
            return Plan(wait=taken(want))
        if steps := (*_settings(want, seen.where, seen.bucket), *_quota(want, seen)):
            return Plan(steps)
        steps = strays(want, seen.where, seen.users)
        for key in want.record.spec.access_keys:
            found = (seen.keys or {}).get(key.name, KeySeen())
            steps += key_steps(want, seen.where, key, found, seen.region)
        return Plan(steps)

    def status(self, want: Want[Bucket], seen: BucketSeen, /) -> Report:
        record = want.record
        known = [key for key in record.spec.access_keys if secret_of(want, key.name) is not None]
        wanted = {key.name for key in record.spec.access_keys}
        leaving = [
            key
            for key in record.status.access_keys
            if key.name not in wanted and secret_of(want, key.name) is not None
        ]
        names = [(key.name, key_id(record, key)) for key in known]
        names += [(key.name, key.access_key) for key in leaving]
        reason, message = _readiness(want, seen)
        serving = reason == "Serving"
        mine = seen.bucket is not None and takes(want, seen)
        status = BucketStatus(
            # it was ours: kept while its server is away, so that it is known again
            bucket=record.bucket_name if mine else record.status.bucket,
            endpoint=endpoint_for_apps(want),
            secret_ref=SecretRef(name=record.secret_name(names[0][0])) if names else None,
            access_keys=tuple(
                KeyStatus(
                    name=name,
                    access_key=identity,
                    secret_ref=SecretRef(name=record.secret_name(name)),
                )
                for name, identity in names
            ),
            used=seen.quota.used_bytes if seen.quota and record.spec.quota else None,
            quota=(seen.quota.quota_bytes or None) if seen.quota else None,
        )
        return Report(
            status,
            serving,
            reason,
            message,
            conditions=() if seen.bucket is None else (_supported(want, seen, seen.bucket),),
            recheck_after_s=QUOTA_RECHECK_S if serving and record.spec.quota else None,
        )

    async def apply(self, step: BucketStep, /) -> None:
        await self.steps.apply(step)


# --- how it is set up ----------------------------------------------------------------------------


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
    if "tags" not in lacks and bucket.tags != (tags := tags_for(want)):
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


def _settled(record: Bucket) -> bool:
    """Whether all was done for this spec. A pass that failed or found no server has ended, too,
    and the user of a key that was taken out may still be there."""
    now = record.metadata.generation
    true = {c.type for c in record.status.conditions
            if c.status == "True" and c.observed_generation == now}  # fmt: skip
    return true >= {"Ready", "Synced"}


def _has_quota(record: Bucket) -> bool:
    """Or had one."""
    return (record.spec.quota or record.status.quota) is not None


def _may_have_quota(record: Bucket) -> bool:
    """Somebody may have set one since it was served; before that there is none that was not asked
    for, and the shell that tells takes longer than all else together."""
    return not record.deleting and (_has_quota(record) or _settled(record))


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
    lacking: list[str] = [name for name, wanted in asked.items() if wanted and name in bucket.lacks]
    if spec.quota is not None and seen.quota is None:
        lacking.append("quota")
    if not lacking:
        return Condition(type="Supported", status="True", reason="AllSupported")
    message = f"this server has no {', '.join(lacking)}; all else is set"
    return Condition(type="Supported", status="False", reason="NotSupported", message=message)


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
        service = service_of(want)
        if keep and (service is None or service.uid is None):
            return Plan(secrets)  # of its own server: the sweep sees to the rest when that is back
        return Plan(wait=no_server(want))
    where, bucket = seen.where, seen.bucket
    users: Steps = tuple(RemoveUser(where, user) for user in seen.users)
    if not keep and bucket is not None and takes(want, seen):
        content = seen.content or Content(0, 0, more=False)
        # its policy first, and its writers: either may keep it from being emptied and removed
        closed = _closed(want, seen)
        if content.empty:
            return Plan((*closed, RemoveBucket(where, bucket.name)))
        if record.spec.force_delete:
            emptying = (RemoveObjects(where, bucket.name), RemoveBucket(where, bucket.name))
            return Plan((*closed, *users, *emptying))
        return Plan(wait=_not_empty(bucket.name, content))
    return Plan((*_closed(want, seen), *_unruled(want, seen), *secrets, *users))


def _closed(want: Want[Bucket], seen: BucketSeen) -> Steps:
    """What is kept is open to nobody: a policy may let everyone in, and no record tells of it."""
    bucket = seen.bucket
    if seen.where is None or bucket is None or not takes(want, seen):
        return ()
    opened = "policy" not in bucket.lacks and bucket.policy is not None
    return (SetPolicy(seen.where, bucket.name, None),) if opened else ()


def _unruled(want: Want[Bucket], seen: BucketSeen) -> Steps:
    """What is kept stays whole: rules would go on destroying it, and no record tells of them."""
    bucket = seen.bucket
    if seen.where is None or bucket is None or not takes(want, seen):
        return ()
    ruled = "lifecycle" not in bucket.lacks and bucket.lifecycle != ()
    return (SetLifecycle(seen.where, bucket.name, ()),) if ruled else ()


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


def _readiness(want: Want[Bucket], seen: BucketSeen) -> tuple[str, str]:
    if want.deleting:
        wait = _plan_removal(want, seen).wait
        return (wait.reason, wait.message) if wait else ("Terminating", "it is being removed")
    if seen.where is None:
        return "ServiceNotReady", no_server(want).message
    if seen.bucket is None:
        return "NotCreated", "it is not on the server yet"
    if not takes(want, seen):
        return "BucketTaken", taken(want).message
    for name, key in (seen.keys or {}).items():
        if key.answer != "valid":
            return "KeyPending", f"access key '{name}' does not open it yet"
    return "Serving", "it is there, and its keys open it"
