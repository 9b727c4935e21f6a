"""botocore, and nothing else of it anywhere: clients, threads, and its errors in our words.

botocore is AWS' own client, the one that every S3 server is tested with. With its clients for S3
and IAM it takes 30 MiB and 0.25 s, so it is imported by the first call: an installation without
buckets never pays for it. It blocks, and so runs on threads.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any, Final, Literal

from controlplane.errors import (
    ControlPlaneError,
    DriverUnavailableError,
    RetryableError,
    TerminalError,
)
from drivers.s3 import DRIVER, S3Server
from drivers.threads import on_thread

Service = Literal["s3", "iam"]

THREADS: Final = 8
CONNECT_TIMEOUT_S: Final = 3
READ_TIMEOUT_S: Final = 20
"""Listing 1,000 objects takes milliseconds; a server that needs longer is in trouble."""
MAX_CLIENTS: Final = 12
"""One is 0.4 MiB once the models are loaded; users' keys are asked with clients of their own."""


class S3Refusal(Exception):  # not an error by itself: callers decide
    """A server's answer other than success: HTTP status and S3 code."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"{status} {code}".strip())
        self.status = status
        self.code = code


class S3Calls:
    """Clients by server, made when first needed and kept for the most recent ones."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="s3")
        self._clients: OrderedDict[tuple[Service, S3Server], Any] = OrderedDict()
        self._making = threading.Lock()
        self._session: Any = None

    async def run(self, what: str, call: Callable[[], Any], /) -> Any:
        """Run a blocking call on a thread, errors translated. `what` as in "observe bucket 'x'".

        A thread can't be stopped: the first cancellation waits for it (READ_TIMEOUT_S bounds it).
        """
        try:
            return await on_thread(call, pool=self._threads)
        except S3Refusal as exc:
            raise translated(exc, what) from exc

    def call(self, service: Service, server: S3Server, operation: str, /, **params: Any) -> Any:
        """One request, on this thread. Raises S3Refusal or errors.py types."""
        from botocore import exceptions as vendor
        from botocore.parsers import ResponseParserError

        client = self._client(service, server)
        what = f"ask {server.endpoint} for {operation}"
        try:
            return getattr(client, operation)(**params)
        except vendor.ClientError as exc:
            raise _refusal(exc.response) from exc
        except (ResponseParserError, ValueError, TypeError) as exc:
            raise _bad_answer(what) from exc
        except (vendor.HTTPClientError, vendor.ConnectionError) as exc:
            message = f"cannot {what}: {type(exc).__name__}"
            raise DriverUnavailableError(DRIVER, message) from exc
        except vendor.BotoCoreError as exc:
            message = f"cannot {what}: {type(exc).__name__}"
            raise TerminalError(message, reason="Refused") from exc

    def _client(self, service: Service, server: S3Server) -> Any:
        key = (service, server)
        with self._making:
            client = self._clients.pop(key, None) or self._made(service, server)
            self._clients[key] = client
            while len(self._clients) > MAX_CLIENTS:
                self._clients.popitem(last=False)
        return client

    def _made(self, service: Service, server: S3Server) -> Any:
        from botocore.config import Config
        from botocore.session import Session

        if self._session is None:
            # no file and no variable of the host's has a say in whom we speak to, and as whom
            self._session = Session(session_vars={"profile": (None, None, None, None)})
        config = Config(
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
            retries={"total_max_attempts": 1},  # retrying is the engine's
            signature_version="s3v4" if service == "s3" else "v4",
            s3={"addressing_style": "path"},  # a bucket is no host name behind an address
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            proxies={},
            max_pool_connections=THREADS,
        )
        client = self._session.create_client(
            service,
            region_name=server.region,
            endpoint_url=server.endpoint,
            aws_access_key_id=server.access_key,
            aws_secret_access_key=server.secret_key,
            config=config,
        )
        client.meta.events.register(f"before-parse.{service}", _only_an_api)
        if service == "iam":
            client.meta.events.register("before-call.iam.CreateAccessKey", _choose_key)
        return client

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._making:
            for client in self._clients.values():
                client.close()
            self._clients.clear()


class Api:
    """One service of one server, on a thread."""

    def __init__(self, calls: S3Calls, server: S3Server, iam: bool) -> None:
        self._calls, self._server, self._iam = calls, server, iam

    def __call__(self, operation: str, /, **params: Any) -> Any:
        return self._calls.call("iam" if self._iam else "s3", self._server, operation, **params)

    def maybe(self, operation: str, /, **params: Any) -> Any:
        """The answer, or None where there is no such thing."""
        try:
            return self(operation, **params)
        except S3Refusal as exc:
            if exc.status == 404:
                return None
            raise

    def pages(self, operation: str, tokens: dict[str, str], /, **params: Any) -> Iterator[Any]:
        """Every page; `tokens` maps the answer's field to the next request's."""
        while (page := self.maybe(operation, **params)) is not None:
            yield page
            following = {asked: page[told] for told, asked in tokens.items() if page.get(told)}
            if not page.get("IsTruncated") or not following:
                return
            params |= following


chosen_key: Final[ContextVar[tuple[str, str] | None]] = ContextVar("chosen_key", default=None)
"""(access key, secret key) for the next CreateAccessKey: AWS' API has no parameter for them."""


def _choose_key(params: dict[str, Any], **_: Any) -> None:
    """SeaweedFS takes AccessKeyId and SecretAccessKey with CreateAccessKey; others ignore them."""
    if (chosen := chosen_key.get()) is not None:
        params["body"] |= {"AccessKeyId": chosen[0], "SecretAccessKey": chosen[1]}


def _only_an_api(response_dict: Mapping[str, Any], **_: Any) -> None:
    """A web page is no answer, though parsers find nothing wrong with one."""
    kind = str((response_dict.get("headers") or {}).get("content-type", "")).lower()
    body = response_dict.get("body")
    odd = isinstance(body, bytes) and body.lstrip()[:1] not in (b"", b"<", b"{")
    if kind.startswith("text/html") or odd:
        raise _bad_answer("read an answer")


def _bad_answer(what: str) -> RetryableError:
    return RetryableError(
        f"cannot {what}: what answers there does not speak S3; check the endpoint",
        retry_after_s=10.0,
        reason="BadAnswer",
    )


def _refusal(response: Mapping[str, Any]) -> S3Refusal:
    meta = response.get("ResponseMetadata") or {}
    code = str((response.get("Error") or {}).get("Code", "") or "")
    status = int(meta.get("HTTPStatusCode", 0))
    return S3Refusal(status, "" if code == str(status) else code)


def translated(exc: S3Refusal, what: str) -> ControlPlaneError:
    """A refusal nobody was prepared for."""
    told = f"cannot {what}: the server answers {exc}"
    if exc.status in (401, 403):
        fix = f"{told}; check the credentials of the service"
        return RetryableError(fix, retry_after_s=10.0, reason="AccessRefused")
    if exc.status == 501:
        return TerminalError(told, reason="NotSupported")
    if exc.status in (404, 409, 429) or exc.status >= 500:
        # 404 and 409: the world moved between two calls
        return RetryableError(told, retry_after_s=1.0, reason="ServerError")
    if exc.status < 300:
        return RetryableError(told, retry_after_s=10.0, reason="BadAnswer")
    return TerminalError(told, reason="Refused")
