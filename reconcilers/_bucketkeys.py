"""The access keys of a Bucket: the steps that bring users, keys and Secrets to what is asked for.

Pure.
"""

from controlplane.plan import EnsureSecret, RecordStep, RemoveChild, Want
from reconcilers._access import key_id, key_policy, secret_keys, user_name, user_prefix
from reconcilers._bucketseen import KeySeen, endpoint_for_apps
from reconcilers._bucketsteps import BucketStep, MakeKey, MakeUser, RemoveKey, RemoveUser, Where
from resources.bucket import AccessKey, Bucket

Steps = tuple[BucketStep | RecordStep, ...]


def secret_of(want: Want[Bucket], key: str) -> str | None:
    """Name of the key's Secret, if it is there and ours."""
    name = want.record.secret_name(key)
    child = want.children.get(("Secret", name))
    return name if child is not None and child.owned else None


def key_secret(want: Want[Bucket], key: AccessKey, region: str) -> EnsureSecret:
    """The key's Secret as it should be."""
    record = want.record
    return EnsureSecret(
        record.secret_name(key.name),
        secret_keys(record, key, endpoint_for_apps(want) or "", region),
        type="servicebinding.io/s3",
        renew_on="access-key",
    )


def key_steps(
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
    fresh = secret_of(want, key.name) is None
    if fresh or not found.secret_true or found.answer is None:
        steps += (key_secret(want, key, region),)
    keys = dict(state.keys) if state else {}
    if fresh or not keys.get(identity, False) or found.answer == "refused":
        namespace, secret = record.metadata.namespace, record.secret_name(key.name)
        steps += (MakeKey(where, user, identity, namespace, secret),)
    # keys nobody asked for: the one before a rotation, or one that a user made for itself
    return (*steps, *(RemoveKey(where, user, each) for each in keys if each != identity))


def strays(want: Want[Bucket], where: Where, users: tuple[str, ...]) -> Steps:
    """Keys that are no longer in the spec: their Secrets, then their users."""
    record = want.record
    wanted = {key.name for key in record.spec.access_keys}
    prefix = user_prefix(record)
    gone = {user.removeprefix(prefix) for user in users} - wanted
    listed = {key.name for key in record.status.access_keys} - wanted
    steps: Steps = ()
    for name in sorted(gone | {each for each in listed if secret_of(want, each)}):
        child = want.children.get(("Secret", record.secret_name(name)))
        if child is None or (child.owned and not child.deleting):
            steps += (RemoveChild("Secret", record.secret_name(name)),)
        if name in gone:
            steps += (RemoveUser(where, prefix + name),)
    return steps
