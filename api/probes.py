"""/healthz, /livez, /readyz, /version and /metrics.

Live: this process answers. Ready: it can also serve records, so its cache has reached the store.
"""

from typing import Final

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from api import errors
from api.answers import json_response
from api.context import Call
from api.routes import Route
from controlplane.access import ADMINS, VIEWERS
from controlplane.errors import ControlPlaneError

_READY_S: Final = 2.0
"""How long readiness waits for the store: below the 3 s that probes usually allow."""

VERSION: Final = {
    "major": "1",
    # kubectl wrappers of some clouds run the client of the server's own minor: keep it current
    "minor": "32",
    "gitVersion": "v1.32.0+bunker",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "none",
    "compiler": "none",
    "platform": "linux/amd64",
}


async def version(call: Call) -> web.StreamResponse:
    """What kubectl takes for the server's version: the API level it speaks."""
    del call
    return json_response(VERSION)


async def live(call: Call) -> web.StreamResponse:
    """This process answers."""
    return _report(call, [("ping", None)])


async def ready(call: Call) -> web.StreamResponse:
    """Every check passes: 200, else 503 with the failed ones named."""
    results: list[tuple[str, str | None]] = [("ping", None)]
    try:
        await call.ctx.records.catch_up(_READY_S)
        results.append(("store", None))
    except (ControlPlaneError, TimeoutError, OSError) as exc:
        results.append(("store", str(exc) or "timed out"))
    for check in call.ctx.ready:
        try:
            await check()
            results.append((check.name, None))
        except (ControlPlaneError, TimeoutError, OSError) as exc:
            results.append((check.name, str(exc) or "timed out"))
    return _report(call, results)


def _report(call: Call, results: list[tuple[str, str | None]]) -> web.Response:
    ok = all(why is None for _, why in results)
    if ok and "verbose" not in call.query:
        return web.Response(text="ok")
    lines = [
        f"[+]{name} ok" if why is None else f"[-]{name} failed: {why}" for name, why in results
    ]
    verdict = "passed" if ok else "failed"
    text = "\n".join([*lines, f"{call.request.path.strip('/')} check {verdict}", ""])
    headers = {} if ok else {"Retry-After": "1"}
    return web.Response(text=text, status=200 if ok else 503, headers=headers)


async def metrics(call: Call) -> web.StreamResponse:
    """The process's metrics; names of records are never in them."""
    if not {ADMINS, VIEWERS} & set(call.user.groups):
        raise errors.StatusError(403, "Forbidden", "forbidden: this user cannot read /metrics")
    body = generate_latest(call.ctx.registry)
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


ROUTES: Final = (
    Route("GET", "/healthz", live, public=True),
    Route("GET", "/livez", live, public=True),
    Route("GET", "/readyz", ready, public=True),
    Route("GET", "/version", version, public=True),
    Route("GET", "/metrics", metrics),
)
