"""Links to objects that open without credentials for a while: S3's signature in the query. Pure.

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html. Forty lines instead of
botocore, which takes 25 MiB once loaded.
"""

import hashlib
import hmac
from datetime import datetime
from typing import Final
from urllib.parse import quote, urlsplit

from drivers.s3 import S3Server

MOST_S: Final = 7 * 86_400
"""S3 takes no longer-lived ones."""


def link_to(server: S3Server, bucket: str, key: str, now: datetime, *, expires_s: int) -> str:
    """A URL (path style) that GETs one object until `now` + `expires_s`, at most seven days."""
    moment = now.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{moment[:8]}/{server.region}/s3/aws4_request"
    host = urlsplit(server.endpoint).netloc
    path = quote(f"/{bucket}/{key}", safe="/-_.~")
    query = "&".join(
        (
            "X-Amz-Algorithm=AWS4-HMAC-SHA256",
            f"X-Amz-Credential={quote(f'{server.access_key}/{scope}', safe='')}",
            f"X-Amz-Date={moment}",
            f"X-Amz-Expires={min(expires_s, MOST_S)}",
            "X-Amz-SignedHeaders=host",
        )
    )
    request = f"GET\n{path}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD"
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{digest}"
    key_bytes = f"AWS4{server.secret_key}".encode()
    for part in scope.split("/"):
        key_bytes = hmac.digest(key_bytes, part.encode(), "sha256")
    signature = hmac.digest(key_bytes, text.encode(), "sha256").hex()
    return f"{server.endpoint.rstrip('/')}{path}?{query}&X-Amz-Signature={signature}"
