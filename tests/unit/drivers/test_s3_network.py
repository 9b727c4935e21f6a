"""What the S3 driver makes of a bucket that it may not see."""

from contextlib import aclosing
from typing import Any

import pytest

from controlplane.errors import RetryableError
from drivers.s3 import S3Server
from drivers.s3_network import NetworkS3
from drivers.s3_sdk import S3Calls, S3Refusal, Service

SERVER = S3Server("http://192.0.2.1:8333", "K", "s")


class Account(S3Calls):
    """A server that answers 403 for every bucket, and lists those of the account."""

    def __init__(self, *names: str, listed: bool = True) -> None:
        super().__init__()
        self.names, self.listed = names, listed

    def call(self, service: Service, server: S3Server, operation: str, /, **params: Any) -> Any:
        if operation == "list_buckets" and self.listed:
            return {"Buckets": [{"Name": name} for name in self.names]}
        raise S3Refusal(403, "AccessDenied")


@pytest.mark.parametrize(
    ("account", "reason"),
    [(Account("mine"), "BucketDenied"), (Account("mine", listed=False), "AccessRefused")],
    ids=["a policy", "no right to list"],
)
async def test_a_bucket_of_the_account_is_not_taken_for_absent(
    account: Account, reason: str
) -> None:
    async with aclosing(NetworkS3(account)) as driver:
        with pytest.raises(RetryableError) as told:
            await driver.observe_bucket(SERVER, "mine")
    assert told.value.reason == reason


async def test_a_bucket_of_another_account_is_none_of_ours() -> None:
    """AWS answers 403 for it: whether the name is free is told when it is to be made."""
    async with aclosing(NetworkS3(Account("mine"))) as driver:
        assert await driver.observe_bucket(SERVER, "theirs") is None
