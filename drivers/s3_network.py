"""The real S3 driver: the S3 and IAM APIs over HTTP, as SeaweedFS 4 speaks them (docs/drivers.md).

No retries and no state but a pool of clients. What differs between servers: those without a
feature answer 501 and the state says so; those that choose access keys themselves (AWS) are told
apart by what they answer, and the key they made is taken back.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeVar
from urllib.parse import unquote

import orjson

from controlplane.errors import RetryableError, TerminalError
from drivers.s3 import (
    POLICY_NAME,
    BucketState,
    Content,
    Feature,
    KeyAnswer,
    S3Server,
    UserState,
    Versioning,
)
from drivers.s3_documents import (
    CorsRule,
    LifecycleRule,
    canonical_policy,
    cors_from_wire,
    cors_to_wire,
    lifecycle_from_wire,
    lifecycle_to_wire,
)
from drivers.s3_sdk import Api, S3Calls, S3Refusal, chosen_key

T = TypeVar("T")

PAGE: Final = 1000
"""Most that S3 lists or deletes at once."""
_GONE: Final = ("NoSuchBucket", "NoSuchEntity")


class NetworkS3:
    """S3 servers, by endpoint."""

    def __init__(self, calls: S3Calls | None = None) -> None:
        self._calls = calls or S3Calls()

    async def observe_server(self, server: S3Server, /) -> None:
        await self._run(server, "log in", lambda s3: s3("list_buckets"))

    async def observe_bucket(self, server: S3Server, name: str, /) -> BucketState | None:
        def look(s3: Api) -> BucketState | None:
            try:
                if s3.maybe("head_bucket", Bucket=name) is None:
                    return None
                return _bucket(s3, name)
            except S3Refusal as exc:
                if exc.status != 403:
                    raise
                if name in _names(s3):
                    raise _denied(name, exc) from exc
                return None  # AWS answers 403 for one of another account

        return await self._run(server, f"observe bucket '{name}'", look)

    async def list_buckets(self, server: S3Server, /) -> tuple[str, ...]:
        return await self._run(server, "list buckets", _names)

    async def observe_content(self, server: S3Server, name: str, /, *, limit: int) -> Content:
        return await self._run(
            server, f"count the objects of bucket '{name}'", lambda s3: _count(s3, name, limit)
        )

    async def ensure_bucket(self, server: S3Server, name: str, /) -> None:
        def make(s3: Api) -> None:
            try:
                s3("create_bucket", Bucket=name)
            except S3Refusal as exc:
                if exc.code == "BucketAlreadyOwnedByYou":
                    return
                if exc.status == 409:
                    message = f"cannot create bucket '{name}': somebody else on the server has it"
                    raise TerminalError(message, reason="NameTaken") from exc
                raise

        await self._run(server, f"create bucket '{name}'", make)

    async def ensure_versioning(self, server: S3Server, name: str, /, *, enabled: bool) -> None:
        status = {"Status": "Enabled" if enabled else "Suspended"}
        await self._run(
            server,
            f"set the versioning of bucket '{name}'",
            lambda s3: s3("put_bucket_versioning", Bucket=name, VersioningConfiguration=status),
        )

    async def ensure_policy(self, server: S3Server, name: str, policy: str | None, /) -> None:
        await self._document(server, name, "policy", {"Policy": policy} if policy else None)

    async def ensure_lifecycle(
        self, server: S3Server, name: str, rules: tuple[LifecycleRule, ...], /
    ) -> None:
        wire = {"LifecycleConfiguration": {"Rules": lifecycle_to_wire(rules)}}
        await self._document(server, name, "lifecycle", wire if rules else None)

    async def ensure_cors(
        self, server: S3Server, name: str, rules: tuple[CorsRule, ...], /
    ) -> None:
        wire = {"CORSConfiguration": {"CORSRules": cors_to_wire(rules)}}
        await self._document(server, name, "cors", wire if rules else None)

    async def ensure_tags(
        self, server: S3Server, name: str, tags: tuple[tuple[str, str], ...], /
    ) -> None:
        wire = {"Tagging": {"TagSet": [{"Key": key, "Value": value} for key, value in tags]}}
        await self._document(server, name, "tagging", wire if tags else None)

    async def delete_content(self, server: S3Server, name: str, /, *, limit: int) -> int:
        return await self._run(server, f"empty bucket '{name}'", lambda s3: _empty(s3, name, limit))

    async def delete_bucket(self, server: S3Server, name: str, /) -> None:
        def remove(s3: Api) -> None:
            # SeaweedFS deletes a bucket that holds but old versions, markers and uploads
            if not _count(s3, name, 1).empty:
                raise _not_empty(name)
            try:
                s3.maybe("delete_bucket", Bucket=name)
            except S3Refusal as exc:
                if exc.status == 409:
                    raise _not_empty(name) from exc
                raise

        await self._run(server, f"delete bucket '{name}'", remove)

    async def observe_user(self, server: S3Server, name: str, /) -> UserState | None:
        return await self._run(
            server, f"observe user '{name}'", lambda iam: _user(iam, name), iam=True
        )

    async def list_users(self, server: S3Server, prefix: str, /) -> tuple[str, ...]:
        def look(iam: Api) -> tuple[str, ...]:
            pages = iam.pages("list_users", {"Marker": "Marker"})
            users = [str(user["UserName"]) for page in pages for user in page.get("Users") or ()]
            return tuple(sorted(user for user in users if user.startswith(prefix)))

        return await self._run(server, "list users", look, iam=True)

    async def ensure_user(self, server: S3Server, name: str, policy: str, /) -> None:
        def make(iam: Api) -> None:
            found = _user(iam, name)
            if found is None:
                try:
                    iam("create_user", UserName=name)
                except S3Refusal as exc:
                    if exc.code != "EntityAlreadyExists":
                        raise
            for extra in found.extra_policies if found else ():
                iam.maybe("delete_user_policy", UserName=name, PolicyName=extra)
            if found is None or found.policy != policy:
                given = {"PolicyName": POLICY_NAME, "PolicyDocument": policy}
                iam("put_user_policy", UserName=name, **given)

        await self._run(server, f"make user '{name}'", make, iam=True)

    async def ensure_key(
        self, server: S3Server, user: str, access_key: str, secret_key: str, /
    ) -> None:
        def make(iam: Api) -> None:
            # its secret can't be read back, so one of that name is made anew
            iam.maybe("delete_access_key", UserName=user, AccessKeyId=access_key)
            token = chosen_key.set((access_key, secret_key))
            try:
                made = iam("create_access_key", UserName=user)["AccessKey"]["AccessKeyId"]
            finally:
                chosen_key.reset(token)
            if made != access_key:
                iam.maybe("delete_access_key", UserName=user, AccessKeyId=made)
                message = (
                    f"cannot make a key for user '{user}': this server chooses keys itself; "
                    "leave spec.accessKeys empty, and make keys on the server"
                )
                raise TerminalError(message, reason="NotSupported")

        await self._run(server, f"make a key for user '{user}'", make, iam=True)

    async def delete_key(self, server: S3Server, user: str, access_key: str, /) -> None:
        await self._run(
            server,
            f"delete a key of user '{user}'",
            lambda iam: iam.maybe("delete_access_key", UserName=user, AccessKeyId=access_key),
            iam=True,
        )

    async def delete_user(self, server: S3Server, name: str, /) -> None:
        def remove(iam: Api) -> None:
            found = _user(iam, name)
            if found is None:
                return
            # AWS and moto refuse (DeleteConflict) while it has any; SeaweedFS takes them along
            for access_key, _ in found.keys:
                iam.maybe("delete_access_key", UserName=name, AccessKeyId=access_key)
            for policy in (POLICY_NAME, *found.extra_policies):
                iam.maybe("delete_user_policy", UserName=name, PolicyName=policy)
            iam.maybe("delete_user", UserName=name)

        await self._run(server, f"delete user '{name}'", remove, iam=True)

    async def observe_key(self, server: S3Server, bucket: str, /) -> KeyAnswer:
        def ask(s3: Api) -> KeyAnswer:
            try:
                s3("get_bucket_location", Bucket=bucket)
            except S3Refusal as exc:
                if exc.code in ("InvalidAccessKeyId", "SignatureDoesNotMatch"):
                    return "refused"
                if exc.code not in ("AccessDenied", *_GONE):
                    raise
            return "valid"

        return await self._run(server, f"try a key on bucket '{bucket}'", ask)

    async def aclose(self) -> None:
        self._calls.close()

    async def _document(
        self, server: S3Server, name: str, what: str, wire: dict[str, Any] | None
    ) -> None:
        """Put one of a bucket's documents, or take it off."""

        def put(s3: Api) -> None:
            if wire is None:
                s3.maybe(f"delete_bucket_{what}", Bucket=name)
            elif what == "lifecycle":
                s3("put_bucket_lifecycle_configuration", Bucket=name, **wire)
            else:
                s3(f"put_bucket_{what}", Bucket=name, **wire)

        await self._run(server, f"set the {what} of bucket '{name}'", put)

    async def _run(
        self, server: S3Server, what: str, call: Callable[[Api], T], *, iam: bool = False
    ) -> T:
        api = Api(self._calls, server, iam)
        done: T = await self._calls.run(what, lambda: call(api))
        return done


def _names(s3: Api) -> tuple[str, ...]:
    return tuple(sorted(str(each["Name"]) for each in s3("list_buckets").get("Buckets") or ()))


def _denied(name: str, exc: S3Refusal) -> RetryableError:
    message = (
        f"cannot observe bucket '{name}': the server answers {exc} though it takes the credentials "
        "of the service: the bucket's policy keeps them out; take it off on the server"
    )
    return RetryableError(message, retry_after_s=10.0, reason="BucketDenied")


def _bucket(s3: Api, name: str) -> BucketState | None:
    lacks: set[Feature] = set()

    def part(feature: Feature, operation: str) -> Any:
        try:
            return s3.maybe(operation, Bucket=name) or {}
        except S3Refusal as exc:
            if exc.status not in (405, 501):
                raise
            lacks.add(feature)
            return {}

    status = part("versioning", "get_bucket_versioning").get("Status")
    versioning: Versioning = status if status in ("Enabled", "Suspended") else "Off"
    policy = part("policy", "get_bucket_policy").get("Policy")
    lifecycle = part("lifecycle", "get_bucket_lifecycle_configuration").get("Rules") or ()
    cors = part("cors", "get_bucket_cors").get("CORSRules") or ()
    tags = part("tags", "get_bucket_tagging").get("TagSet") or ()
    return BucketState(
        name=name,
        versioning=versioning,
        policy=_readable(policy) if policy else None,
        lifecycle=lifecycle_from_wire(lifecycle),
        cors=cors_from_wire(cors),
        tags=tuple(sorted((str(tag["Key"]), str(tag["Value"])) for tag in tags)),
        lacks=frozenset(lacks),
    )


def _readable(policy: Any) -> str:
    """Canonical; one that can't be read differs from all that we would write."""
    try:
        return canonical_policy(policy)
    except (ValueError, AttributeError, TypeError):
        return str(policy)


_VERSION_TOKENS: Final = {"NextKeyMarker": "KeyMarker", "NextVersionIdMarker": "VersionIdMarker"}
_UPLOAD_TOKENS: Final = {"NextKeyMarker": "KeyMarker", "NextUploadIdMarker": "UploadIdMarker"}


def _versions(s3: Api, name: str, at_most: int) -> Iterator[dict[str, str]]:
    """Every object, version and delete marker."""
    size = min(at_most, PAGE)
    for page in s3.pages("list_object_versions", _VERSION_TOKENS, Bucket=name, MaxKeys=size):
        for found in (*(page.get("Versions") or ()), *(page.get("DeleteMarkers") or ())):
            yield {"Key": found["Key"], "VersionId": found.get("VersionId") or "null"}


def _uploads(s3: Api, name: str) -> Iterator[dict[str, str]]:
    for page in s3.pages("list_multipart_uploads", _UPLOAD_TOKENS, Bucket=name):
        for found in page.get("Uploads") or ():
            yield {"Key": unquote(found["Key"]), "UploadId": found["UploadId"]}


def _taken(found: Iterable[dict[str, str]], limit: int) -> tuple[list[dict[str, str]], bool]:
    """The first `limit`, and whether there are more."""
    taken: list[dict[str, str]] = []
    for each in found:
        if len(taken) == limit:
            return taken, True
        taken.append(each)
    return taken, False


def _count(s3: Api, name: str, limit: int) -> Content:
    objects, more = _taken(_versions(s3, name, limit + 1), limit)
    uploads, more_uploads = _taken(_uploads(s3, name), limit)
    return Content(len(objects), len(uploads), more or more_uploads)


def _empty(s3: Api, name: str, limit: int) -> int:
    objects, _ = _taken(_versions(s3, name, limit), limit)
    for start in range(0, len(objects), PAGE):
        chunk = {"Objects": objects[start : start + PAGE], "Quiet": True}
        answer = s3.maybe("delete_objects", Bucket=name, Delete=chunk) or {}
        if errors := answer.get("Errors"):  # told in an answer of status 200
            codes = sorted({str(each.get("Code", "")) for each in errors})
            message = f"cannot empty bucket '{name}': the server answers {', '.join(codes)}"
            raise RetryableError(message, retry_after_s=5.0, reason="ObjectsKept")
    uploads, _ = _taken(_uploads(s3, name), limit - len(objects))
    for upload in uploads:
        s3.maybe("abort_multipart_upload", Bucket=name, **upload)
    return len(objects) + len(uploads)


def _not_empty(name: str) -> RetryableError:
    message = f"cannot delete bucket '{name}': it is not empty"
    return RetryableError(message, retry_after_s=10.0, reason="BucketNotEmpty")


def _user(iam: Api, name: str) -> UserState | None:
    if iam.maybe("get_user", UserName=name) is None:
        return None
    policies = iam.maybe("list_user_policies", UserName=name) or {}
    names = [str(policy) for policy in policies.get("PolicyNames") or ()]
    policy = None
    if POLICY_NAME in names:
        found = iam.maybe("get_user_policy", UserName=name, PolicyName=POLICY_NAME) or {}
        document = found.get("PolicyDocument")
        # botocore decodes it, but not where the server leaves out the percent-encoding
        policy = _readable(orjson.dumps(document) if isinstance(document, dict) else document)
    keys = iam.maybe("list_access_keys", UserName=name) or {}
    return UserState(
        name=name,
        policy=policy,
        keys=tuple(
            sorted(
                (str(key["AccessKeyId"]), key.get("Status", "Active") == "Active")
                for key in keys.get("AccessKeyMetadata") or ()
            )
        ),
        extra_policies=tuple(sorted(set(names) - {POLICY_NAME})),
    )
