"""s3: buckets for all tenants (SeaweedFS, master to S3 gateway in one process).

https://github.com/seaweedfs/seaweedfs/wiki. In the tenants' networks: the S3 port asks for
credentials, and all inner ports are closed (docs/images.md).
"""

from typing import Final

import orjson

from controlplane.plan import Generated
from drivers.containers import SECRETS_PATH
from reconcilers._service import (
    Facts,
    Health,
    SecretKeys,
    ServiceContainer,
    ServiceDef,
    ServiceFile,
)
from resources.bucket import ADMINISTRATOR

PORT: Final = 8333
ADMIN: Final = "bunkeradmin"
REGION: Final = "us-east-1"
"""What S3 clients assume where nothing is said; this server has no regions."""
COMMAND: Final = (
    "server",
    "-dir=/data",
    # the master, the volume server and the filer know no passwords: loopback only
    "-ip=127.0.0.1",
    "-ip.bind=127.0.0.1",
    "-master.telemetry=false",
    "-master.electionTimeout=1s",  # alone, it needs no 10 s to find a leader
    "-master.volumeSizeLimitMB=64",  # each bucket has volumes of its own: small ones, many
    "-volume.max=0",  # as many as the disk has room for
    "-filer",
    "-s3",
    "-s3.ip.bind=0.0.0.0",
    f"-s3.port={PORT}",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
    f"-s3.config={SECRETS_PATH}/s3.json",
    "-s3.iam.readOnly=false",
    "-s3.allowDeleteBucketNotEmpty=false",
    "-s3.autoCreateBucket=false",
)
ENV: Final = {"WEED_MASTER_VOLUME_GROWTH_COPY_1": "2"}
"""Volumes a bucket begins with; the server's own default is 7."""


def identities(access_key: str, secret_key: str) -> str:
    """The content of s3.json: one administrator; all others are made over the API. Both may be
    placeholders of a template."""
    actions = ["Admin", "Read", "List", "Tagging", "Write"]
    admin = {
        "name": ADMINISTRATOR,
        "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
        "actions": actions,
    }
    return orjson.dumps({"identities": [admin]}).decode()


def _containers(facts: Facts) -> tuple[ServiceContainer, ...]:
    del facts
    return (
        ServiceContainer(
            image="seaweedfs",
            command=COMMAND,
            env=ENV,
            files=(ServiceFile("s3.json", identities("{access-key}", "{secret-key}"), plain=True),),
            health=Health(PORT, "/healthz"),
            tmpfs=("/tmp:size=16m,mode=700,uid=1000,gid=1000",),  # noqa: S108  # in the container
            stop_timeout_s=30,
        ),
    )


def _secret(facts: Facts) -> SecretKeys:
    del facts
    return {"access-key": ADMIN, "secret-key": Generated(40), "region": REGION}


SERVICE: Final = ServiceDef(_containers, _secret)
