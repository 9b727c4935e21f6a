"""Who may do what with a bucket: the policies of its keys and of itself, and names on the server.

Pure. Names are a function of the record, so that a retry finds what a lost reply made.
"""

import base64
import hashlib
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from controlplane.plan import Generated, Template
from drivers.s3_documents import canonical_policy, policy_of
from resources.bucket import ARN, AccessKey, Bucket

SECRET_LENGTH: Final = 40
"""As AWS' own: 240 random bits."""
_READ: Final = ("s3:GetObject", "s3:GetObjectVersion", "s3:GetObjectTagging")
_WRITE: Final = (
    "s3:PutObject",
    "s3:PutObjectTagging",
    "s3:DeleteObject",
    "s3:DeleteObjectVersion",
    "s3:AbortMultipartUpload",
)
_LIST: Final = ("s3:ListBucket", "s3:ListBucketVersions", "s3:GetBucketLocation")


def user_prefix(record: Bucket) -> str:
    """What the names of all its users begin with: 44 of the 64 characters that AWS allows."""
    return f"bunker-{record.metadata.uid}-"


def user_name(record: Bucket, key: str) -> str:
    return user_prefix(record) + key


def key_id(record: Bucket, key: AccessKey) -> str:
    """Id of the key on the server: no secret, and another one after each rotation."""
    text = f"{record.metadata.uid}/{key.name}/{key.rotation}"
    # base 32 is upper case letters and digits, all that a key's id may have
    return "BK" + base64.b32encode(hashlib.sha256(text.encode()).digest()).decode()[:18]


def key_policy(bucket: str, key: AccessKey) -> str:
    """All that a key may do. It can neither see nor change how the bucket is set up."""
    writes = key.access != "read"
    reads = key.access != "write"
    actions = (*(_READ if reads else ()), *(_WRITE if writes else ()))
    statements: list[dict[str, Any]] = [
        {"Effect": "Allow", "Action": actions, "Resource": f"{ARN}{bucket}/{key.prefix}*"}
    ]
    if reads:
        listing: dict[str, Any] = {
            "Effect": "Allow",
            "Action": _LIST,
            "Resource": f"{ARN}{bucket}",
        }
        if key.prefix:
            listing["Condition"] = {"StringLike": {"s3:prefix": [f"{key.prefix}*"]}}
        statements.append(listing)
    return policy_of(*statements)


def bucket_policy(record: Bucket) -> str | None:
    """The bucket's own policy, canonical; None: it has none."""
    statements: list[Any] = []
    if record.spec.public_read:
        statements.append(
            {
                "Sid": "PublicRead",
                "Effect": "Allow",
                "Principal": "*",
                "Action": "s3:GetObject",
                "Resource": f"{ARN}{record.bucket_name}/*",
            }
        )
    if record.spec.policy is not None:
        statements += orjson.loads(record.spec.policy)["Statement"]
    return (
        canonical_policy({"Version": "2012-10-17", "Statement": statements}) if statements else None
    )


def secret_keys(
    record: Bucket, key: AccessKey, endpoint: str, region: str
) -> dict[str, str | Generated | Template]:
    """Keys of https://servicebinding.io/spec/core/1.1.0/#well-known-secret-entries."""
    parts = urlsplit(endpoint)
    return {
        "type": "s3",
        "provider": "bunker",
        "endpoint": endpoint,
        "host": parts.hostname or "",
        "port": str(parts.port or (443 if parts.scheme == "https" else 80)),
        "bucket": record.bucket_name,
        "region": region,
        "access-key": key_id(record, key),
        "secret-key": Generated(SECRET_LENGTH),
        "uri": Template("s3://{access-key}:{secret-key}@{host}:{port}/{bucket}", uri=True),
    }
