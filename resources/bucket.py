"""Bucket: what a user may ask of a bucket, and who may use it. No I/O."""

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from resources._bucketpolicy import check_policy, shuts_out
from resources.changes import fixed
from resources.columns import AGE, REASON, Column, ready
from resources.meta import (
    MAP_BY_NAME,
    STORED,
    Bool,
    FieldError,
    Int,
    KindInfo,
    Model,
    NameClaim,
    Resource,
    SecretRef,
)
from resources.meta import Spec as BaseSpec
from resources.meta import Status as BaseStatus
from resources.network import service_claims
from resources.quantity import Bytes, format_bytes
from resources.text import DnsLabel, Matches, Text

ARN: Final = "arn:aws:s3:::"
OWN_TAGS: Final = "bunker.cloud/"
"""Tags that begin so are the platform's: whose a bucket is, and who may adopt it."""
ADMINISTRATOR: Final = "bunker-admin"
"""The platform itself on its own server, by name."""

BucketName = Annotated[
    str,
    Matches(
        "[a-z0-9][-a-z0-9]{1,61}[a-z0-9]",
        "a bucket's name: use 3 to 63 lower case letters, digits and '-', such as 'shop-assets'",
        63,
    ),
]
KeyName = Annotated[
    str,
    Matches(
        "[a-z]([-a-z0-9]*[a-z0-9])?",
        "a key's name: use at most 20 lower case letters, digits and '-', such as 'uploader'",
        20,
    ),
]
Prefix = Annotated[
    str,
    Matches(
        "([^/*?$\\x00-\\x1f][^*?$\\x00-\\x1f]*)?",
        "a prefix: the beginning of objects' names, without a leading '/', '*', '?' or '$', such "
        "as 'uploads/'",
        512,
    ),
]
Tag = Annotated[
    str,
    Matches("[-+=._:/@ A-Za-z0-9]*", "a tag: use letters, digits, spaces and + - = . _ : / @", 128),
]
Header = Annotated[
    str, Matches("[!-~]{1,128}", "a header's name: no spaces, such as 'Content-Type' or '*'", 128)
]
Origin = Annotated[
    str,
    Matches("[!-~]{1,253}", "an origin: such as 'https://shop.example.org', or '*' for all", 253),
]
Method = Literal["GET", "PUT", "POST", "DELETE", "HEAD"]
Access = Literal["read", "write", "readwrite"]
Days = Annotated[Int, Field(ge=1, le=36500)]


def _enough_quota(value: int) -> int:
    if value < 2**20:  # servers count quotas in whole MiB
        raise ValueError(f"{format_bytes(value)} is too little; write at least '1Mi'")
    return value


class AccessKey(Model):
    """Credentials for one use of the bucket."""

    name: KeyName
    """Its name; the Secret is `<bucket>-<name>`. Example: `uploader`."""
    access: Access = "readwrite"
    """`read` (get and list), `write` (put and delete) or `readwrite`. Default: `readwrite`."""
    prefix: Prefix = ""
    """Only objects whose names begin so. Default: all. Example: `uploads/`."""
    rotation: Annotated[Int, Field(ge=0)] = 0
    """Raise it to have the key made anew: the old one stops at once. Default: 0. Example: `1`."""


class LifecycleRule(Model):
    """What the server removes by itself."""

    name: KeyName
    """Its name. Example: `tmp`."""
    prefix: Prefix = ""
    """Only objects whose names begin so. Default: all. Example: `tmp/`."""
    expire_days: Days | None = None
    """Remove objects so many days after they were stored. Default: never. Example: `30`."""
    noncurrent_days: Days | None = None
    """Remove old versions so many days after a newer one came. Default: never. Example: `90`."""
    abort_upload_days: Days | None = None
    """Abort uploads in parts that are unfinished after so many days. Default: never.
    Example: `7`."""

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not (self.expire_days or self.noncurrent_days or self.abort_upload_days):
            raise ValueError(
                f"rule '{self.name}' removes nothing; set expireDays, noncurrentDays or "
                "abortUploadDays"
            )
        return self


class CorsRule(Model):
    """What pages of other origins may do in a browser; the first rule that fits counts."""

    origins: Annotated[tuple[Origin, ...], Field(min_length=1, max_length=32)]
    """Origins of the pages. Example: `[https://shop.example.org]`."""
    methods: Annotated[tuple[Method, ...], Field(min_length=1, max_length=5)] = ("GET",)
    """HTTP methods they may use. Default: `[GET]`."""
    headers: Annotated[tuple[Header, ...], Field(max_length=32)] = ()
    """Request headers they may send. Default: none but the usual. Example: `["*"]`."""
    expose_headers: Annotated[tuple[Header, ...], Field(max_length=32)] = ()
    """Answer headers they may read. Default: none but the usual. Example: `[ETag]`."""
    max_age_seconds: Annotated[Int, Field(ge=0, le=86400)] = 0
    """Seconds a browser may keep this answer. Default: 0, as long as it likes. Example: `600`."""


class BucketSpec(BaseSpec):
    server: DnsLabel = "s3"
    """The Platform record of the S3 server it is on. May not change. Default: `s3`."""
    bucket_name: BucketName | None = None
    """Its name on the server, which no other tenant may have. May not change. Default:
    `<namespace>-<name>`. Example: `shop-assets`."""
    versioning: Bool = False
    """Keep every version of an object; switched off, those kept stay. Default: false."""
    public_read: Bool = False
    """Anybody who reaches the server may get objects, without listing them. Default: false."""
    policy: Text | None = None
    """Further policy in S3's own JSON, about this bucket alone; compared by meaning. Default: none.
    Example: `{"Statement": [{"Effect": "Deny", "Principal": "*", "Action": "s3:DeleteObject",
    "Resource": "arn:aws:s3:::shop-assets/kept/*"}]}`."""
    lifecycle: Annotated[
        tuple[LifecycleRule, ...], Field(max_length=100, json_schema_extra=MAP_BY_NAME)
    ] = ()
    """What the server removes by itself. Default: nothing."""
    cors: Annotated[tuple[CorsRule, ...], Field(max_length=32)] = ()
    """What pages of other origins may do in a browser. Default: nothing."""
    tags: Annotated[dict[Tag, Tag], Field(max_length=40)] = Field(default_factory=dict)
    """Tags on the server. Default: none. Example: `{team: web}`."""
    quota: Annotated[Bytes, AfterValidator(_enough_quota)] | None = None
    """Bytes it may hold, with a unit, in whole MiB; a server without quotas is told in the
    condition Supported. Default: as much as the server has. Example: `5Gi`."""
    access_keys: Annotated[
        tuple[AccessKey, ...], Field(max_length=32, json_schema_extra=MAP_BY_NAME)
    ] = (AccessKey(name="default"),)
    """Credentials, each with a Secret of its own. Default: one named `default` that may read and
    write."""
    deletion_policy: Literal["Retain", "Delete"] = "Retain"
    """What becomes of the bucket when the record is deleted: `Retain` keeps it for the next record
    of the same name, `Delete` removes it. Its keys go either way. Default: `Retain`."""
    force_delete: Bool = False
    """With deletionPolicy `Delete`: destroy its objects, too. Default: false, and a bucket that is
    not empty stays until it is."""

    @model_validator(mode="after")
    def _names_once(self, info: ValidationInfo) -> Self:
        for field, items in (("accessKeys", self.access_keys), ("lifecycle", self.lifecycle)):
            names = [item.name for item in items]
            if twice := {name for name in names if names.count(name) > 1}:
                raise ValueError(f"{field} names '{min(twice)}' twice; names are given once")
        if "" in self.tags and info.context != STORED:
            raise ValueError("tags has an empty key; give the tag a name")
        if own := [key for key in self.tags if key.startswith(OWN_TAGS)]:
            raise ValueError(f"tags '{min(own)}' is the platform's own; use another key")
        return self


class KeyStatus(Model):
    name: str
    """As in spec.accessKeys."""
    access_key: str
    """Id of the key on the server; no secret."""
    secret_ref: SecretRef
    """The Secret with endpoint, bucket, access-key, secret-key, region and uri."""


class BucketStatus(BaseStatus):
    agents_own: ClassVar[frozenset[str]] = BaseStatus.agents_own | {"bucket"}

    bucket: str | None = None
    """Its name on the server, once it is this record's."""
    endpoint: str | None = None
    """Where the namespace's Apps reach the server. Example: `http://s3:8333`."""
    secret_ref: SecretRef | None = None
    """The Secret of the first key."""
    access_keys: Annotated[tuple[KeyStatus, ...], Field(json_schema_extra=MAP_BY_NAME)] = ()
    """Keys that exist, and their Secrets."""
    used: Bytes | None = None
    """Bytes it holds, where the server tells."""
    quota: Bytes | None = None
    """Bytes it may hold, as the server has it."""


def name_on_server(namespace: str, record: str) -> str:
    """On the server, where the record's spec names none."""
    name = f"{namespace}-{record}"
    if len(name) <= 63:
        return name
    return f"{name[:54].rstrip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


class Bucket(Resource[BucketSpec, BucketStatus]):
    """A bucket on an S3 server of the platform, with access keys in Secrets."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="Bucket",
        plural="buckets",
        singular="bucket",
        categories=("all",),
        columns=(
            Column("Bucket", ".status.bucket", description="Its name on the server"),
            ready("Whether it can be used"),
            REASON,
            Column("Keys", ".status.accessKeys", "integer", description="How many keys it has"),
            Column("Endpoint", ".status.endpoint", description="Where Apps reach the server"),
            AGE,
            Column("Server", ".spec.server", priority=1, description="Platform record it is on"),
            Column("Used", ".status.used", priority=1, description="What it holds"),
            Column("Quota", ".status.quota", priority=1, description="What it may hold"),
            Column("Public", ".spec.publicRead", priority=1, description="Anybody may read it"),
            Column("Policy", ".spec.deletionPolicy", priority=1, description="Retain or Delete"),
        ),
        needs_namespace_network=True,
        bulk=("policy",),
    )
    spec: BucketSpec
    status: BucketStatus = Field(default_factory=BucketStatus)

    @property
    def bucket_name(self) -> str:
        """Its name on the server: at most 63 characters, whatever the record is called."""
        return self.spec.bucket_name or name_on_server(self.metadata.namespace, self.metadata.name)

    @property
    def claims(self) -> tuple[NameClaim, ...]:
        return (
            NameClaim(scope="bucket", name=f"{self.spec.server}/{self.bucket_name}"),
            *service_claims(self.services, self.metadata.namespace),
        )

    @property
    def services(self) -> tuple[str, ...]:
        return (self.spec.server,)

    def secret_name(self, key: str) -> str:
        """Name of the Secret of its key of that name."""
        return f"{self.metadata.name}-{key}"

    @model_validator(mode="after")
    def _policy_is_about_it(self) -> Self:
        if self.spec.policy is not None:
            check_policy(self.spec.policy, f"{ARN}{self.bucket_name}")
        return self

    def check_new(self, stored: Mapping[str, Any], /) -> tuple[FieldError, ...]:
        """A policy that shuts the platform out; not one from before that was refused, which
        hinders no other edit."""
        policy, mine = self.spec.policy, f"{ARN}{self.bucket_name}"
        if policy is None or policy == (stored.get("spec") or {}).get("policy"):
            return ()
        if not shuts_out(policy, mine, ADMINISTRATOR):
            return ()
        why = (
            "denies to everybody, or to the platform, what the platform does on the bucket itself; "
            f"it could neither see nor mend it any more; deny its objects ('{mine}/*'), name other "
            "actions (as 's3:DeleteBucket'), or users or roles "
            "('arn:aws:iam::<account>:user/<name>')"
        )
        return (FieldError("spec.policy", "FieldValueInvalid", why),)

    def check_update(self, old: Self, /) -> tuple[FieldError, ...]:
        return fixed(
            "make a new Bucket and copy the objects",
            ("server", old.spec.server, self.spec.server),
            ("bucketName", old.bucket_name, self.bucket_name),
        )
