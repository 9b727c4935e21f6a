"""The Docker SDK behind one narrow, blocking face: requests, the event stream, pulls.

The only module that imports the SDK. It knows the engine's transport and nothing of containers:
paths and bodies are the callers' (https://docs.docker.com/reference/api/engine/version/v1.41/).
Every call blocks; docker_calls.py runs them on threads.
"""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

import requests
from docker import APIClient
from docker.errors import APIError, DockerException
from docker.types import CancellableStream
from docker.utils import parse_repository_tag
from urllib3.exceptions import HTTPError

from drivers.docker_errors import (
    EngineAwayError,
    EngineError,
    EngineRefusedError,
    EngineTimeoutError,
    speaks_another_version,
)

_OK: Final = (200, 201, 204, 304)
PULL_SILENT_S: Final = 600.0
"""A pull of which the engine tells nothing for so long is given up: a registry that took the
request and sends nothing would keep its place for ever. Not sooner, as one that waits until the
engine has fetched other layers is silent, too."""


class _Client(APIClient):
    """The SDK's, but for how long it reads a pull: it would do so for ever."""

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        if "/images/create?" in request.path_url:
            kwargs["timeout"] = PULL_SILENT_S
        return super().send(request, **kwargs)


class Engine:
    """A connection to one engine. Thread-safe; connects on first use, so that an engine that is
    away is an error of that call and not of start-up."""

    def __init__(self, url: str, *, timeout_s: float, pool_size: int) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._pool_size = pool_size
        self._lock = threading.Lock()
        self._client: APIClient | None = None

    @property
    def socket_path(self) -> str:
        return self._url.removeprefix("unix://")

    @property
    def api_version(self) -> str:
        return self._connected().api_version

    def call(
        self,
        method: str,
        path: str,
        *args: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        """The parsed JSON answer, None for an empty one. `{}` in `path` are filled with quoted
        `args`. Raises EngineError."""
        client = self._connected()
        url = f"{client.base_url}/v{client.api_version}" + path.format(
            *(quote(arg, safe=":@") for arg in args)
        )
        try:
            answer = client.request(
                method, url, params=query, json=body, timeout=timeout_s or self._timeout_s
            )
        except requests.RequestException as exc:
            raise _transport_error(exc) from exc
        if answer.status_code not in _OK:
            raise self._judged(EngineRefusedError(answer.status_code, _message(answer)))
        return answer.json() if answer.content.strip() else None

    def events(self, since_s: float, filters: Mapping[str, list[str]]) -> "Stream":
        """Connected once it returns. Raises EngineError."""
        client = self._connected()
        try:
            response = client.request(
                "GET",
                f"{client.base_url}/v{client.api_version}/events",
                params={"since": str(int(since_s)), "filters": json.dumps(filters)},
                stream=True,
                timeout=None,
            )
        except requests.RequestException as exc:
            raise _transport_error(exc) from exc
        if response.status_code not in _OK:
            raise self._judged(EngineRefusedError(response.status_code, _message(response)))
        return Stream(response)

    def pull(self, reference: str) -> Iterator[Mapping[str, Any]]:
        """The engine's progress messages; errors are among them. Raises EngineError:
        EngineTimeoutError after PULL_SILENT_S without one, and the engine gives the pull up."""
        repository, tag = parse_repository_tag(reference)
        try:
            client = self._connected()
            # the SDK reads the logins at registries once, and they change: docker login
            client.reload_config()
            yield from client.pull(repository, tag=tag or "latest", stream=True, decode=True)
        except (requests.RequestException, HTTPError, DockerException) as exc:
            # a read of the SDK's stream fails with urllib3's own errors
            error = _transport_error(exc)
            raise self._judged(error) from exc

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _judged(self, error: EngineError) -> EngineError:
        """`error`, but for an engine that was exchanged for one which speaks other versions of the
        API (https://docs.docker.com/reference/api/engine/#api-version-matrix): with that another
        is agreed upon, by the next call."""
        if not (isinstance(error, EngineRefusedError) and speaks_another_version(error)):
            return error
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()
        return EngineAwayError("the Docker engine was exchanged for one of another version")

    def _connected(self) -> APIClient:
        self._probe()
        with self._lock:
            if self._client is None:
                try:
                    client = _Client(
                        base_url=self._url,
                        version="auto",
                        timeout=int(self._timeout_s),
                        max_pool_size=self._pool_size,
                    )
                except (requests.RequestException, DockerException) as exc:
                    raise _transport_error(exc) from exc
                # Proxies and .netrc mean nothing on a Unix socket, and cost a look each request.
                client.trust_env = False
                # A connection for each request (0.05 ms, beside the 0.43 ms of a list): an engine
                # that shuts down takes no new one, but serves those it has (20.10). A container
                # that it has just stopped would be started over one, and it would wait for its
                # end as long as for the slowest container's.
                client.headers["Connection"] = "close"
                self._client = client
            return self._client

    def _probe(self) -> None:
        """Looks first whether anybody listens (6 µs): the SDK never closes a socket that it could
        not connect, and while the engine is away every call would leave one."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(self._timeout_s)
            try:
                probe.connect(self.socket_path)
            except OSError as exc:
                raise EngineAwayError("the Docker engine does not answer on its socket") from exc


class Stream:
    """The engine's events, one JSON object each; close() from any thread ends it."""

    def __init__(self, response: requests.Response) -> None:
        self._response = response
        # The SDK knows how to find the socket under a response, to end a read that blocks.
        self._cancellable = CancellableStream(self._events(), response)
        self._reading = False

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        self._reading = True
        try:
            yield from self._cancellable
        except (requests.RequestException, ValueError, AttributeError, OSError) as exc:
            # A read trips over its own closed socket in several ways; each is an end.
            raise EngineAwayError(str(exc)) from exc
        finally:
            self._response.close()

    def close(self) -> None:
        with contextlib.suppress(OSError, AttributeError):  # closed already
            self._cancellable.close()
        if not self._reading:
            self._response.close()

    def _events(self) -> Iterator[Mapping[str, Any]]:
        rest = b""
        # None: each piece as it arrives, where a size would wait for that many bytes.
        for piece in self._response.iter_content(chunk_size=None):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                if line.strip():
                    yield json.loads(line)


def _transport_error(exc: Exception) -> EngineError:
    if isinstance(exc, APIError) and exc.status_code is not None:
        return EngineRefusedError(int(exc.status_code), str(exc.explanation or exc))
    if isinstance(exc, requests.Timeout) or "timed out" in str(exc):
        return EngineTimeoutError("the engine did not answer in time")
    return EngineAwayError("the Docker engine does not answer on its socket")


def _message(answer: requests.Response) -> str:
    try:
        return str(json.loads(answer.content)["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text
