"""botocore as a user of an S3 server has it: nothing of our driver."""

from collections.abc import Mapping
from typing import Any

from botocore.config import Config
from botocore.session import Session


def s3_client(url: str, login: Mapping[str, str], service: str = "s3") -> Any:
    """A client with the keys of a Secret; `service`: s3 or iam."""
    return Session().create_client(
        service,
        region_name="us-east-1",
        endpoint_url=url,
        aws_access_key_id=login["access-key"],
        aws_secret_access_key=login["secret-key"],
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )
