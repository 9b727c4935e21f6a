"""Signed links, against AWS' own signer."""

from datetime import UTC, datetime

import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from drivers.s3 import S3Server
from drivers.s3_links import MOST_S, link_to

NOW = datetime(2026, 11, 28, 1, 2, 3, tzinfo=UTC)


@pytest.mark.parametrize("endpoint", ["http://s3:8333", "https://s3.example.org"])
@pytest.mark.parametrize("key", ["tiny.gguf", "models/a b/ü+&=?#%.gguf", "a//b/../c~"])
def test_a_link_is_what_aws_itself_would_sign(
    endpoint: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = S3Server(endpoint, "AKID", "secret", "eu-central-1")
    link = link_to(server, "shop-assets", key, NOW, expires_s=3600)
    bare = link.partition("?")[0]
    request = AWSRequest("GET", bare)
    credentials = Credentials("AKID", "secret")  # pragma: allowlist secret
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: NOW.replace(tzinfo=None))
    S3SigV4QueryAuth(credentials, "s3", "eu-central-1", expires=3600).add_auth(request)
    assert link == request.url


def test_a_link_lives_no_longer_than_s3_allows() -> None:
    server = S3Server("http://s3:8333", "AKID", "secret")
    assert f"X-Amz-Expires={MOST_S}&" in link_to(server, "b", "k", NOW, expires_s=10**9)
    assert "secret" not in link_to(server, "b", "k", NOW, expires_s=60)
