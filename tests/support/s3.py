"""botocore as a user of an S3 server has it: nothing of our driver."""

import threading
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from botocore.config import Config
from botocore.session import Session

_MAKING: Final = threading.Lock()
"""A session makes one client at a time."""


def s3_client(url: str, login: Mapping[str, str], service: str = "s3") -> Any:
    """A client with the keys of a Secret; `service`: s3 or iam."""
    with _MAKING:
        return _session().create_client(
            service,
            region_name="us-east-1",
            endpoint_url=url,
            aws_access_key_id=login["access-key"],
            aws_secret_access_key=login["secret-key"],
            config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
        )


@cache
def _session() -> Session:
    """One for all: what it knows of AWS takes 30 MiB."""
    return Session()
