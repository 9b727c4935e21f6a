"""ingress: HTTP and HTTPS from outside to the Apps that have domains (Traefik).

Routes are files that Traefik watches (https://doc.traefik.io/traefik/providers/file/), written from
the Apps' own status: backends by address, as names mean another App in another namespace. Each set
of routes has a middleware named after its hash, which nothing uses: once Traefik's API shows it,
these routes are what it works by. A name in a rule is a host name of the strict grammar of App's
model, and so nothing but a name.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import orjson

from controlplane.plan import Dependent, Generated
from drivers.containers import SECRETS_PATH
from reconcilers._service import (
    Facts,
    Health,
    Routing,
    SecretKeys,
    ServiceContainer,
    ServiceDef,
    ServiceFile,
)

API_PORT: Final = 8080
# Ports below 1024 need no capability in a network namespace of its own.
_SYSCTLS: Final = {"net.ipv4.ip_unprivileged_port_start": "0"}
_PUBLIC: Final = ("web", "websecure")
_COMMAND: Final = (
    "--entrypoints.web.address=:80",
    "--entrypoints.websecure.address=:443",
    f"--entrypoints.traefik.address=:{API_PORT}",
    "--api=true",
    "--ping=true",
    "--ping.entrypoint=traefik",
    "--metrics.prometheus=true",
    "--metrics.prometheus.manualrouting=true",
    f"--providers.file.directory={SECRETS_PATH}/routes",
    "--providers.file.watch=true",
    # the default of 2 s would be the time that each change of an App takes
    "--providers.providersthrottleduration=10ms",
    # Of a whole request: the default of 60 s cuts off an upload of 300 MB at 20 Mbit/s. Bounded
    # all the same, or who sends a byte now and then holds a connection for ever (CVE-2024-28869).
    *(f"--entrypoints.{name}.transport.respondingtimeouts.readtimeout=1h" for name in _PUBLIC),
    "--global.checknewversion=false",
    "--global.sendanonymoususage=false",
    "--log.level=INFO",
)
_UNUSED: Final = {"stripPrefix": {"prefixes": ["/none"]}}
# A replica that was killed a moment ago: its address swallows packets, and the default is 30 s.
_TRANSPORTS: Final = {"apps": {"forwardingTimeouts": {"dialTimeout": "2s"}}}
# Only what no backend has begun to read is sent again, so never an order twice
# (https://doc.traefik.io/traefik/middlewares/http/retry/).
_AGAIN: Final = {"again": {"retry": {"attempts": 3, "initialInterval": "50ms"}}}
# Its port is within reach of every tenant whose App has a domain, so it asks for the password.
_INTERNAL: Final = {
    "http": {
        "routers": {
            "inner-api": {
                "rule": "PathPrefix(`/api`)",
                "service": "api@internal",
                "entryPoints": ["traefik"],
                "middlewares": ["inner-login"],
            },
            "inner-metrics": {
                "rule": "Path(`/metrics`)",
                "service": "prometheus@internal",
                "entryPoints": ["traefik"],
                "middlewares": ["inner-login"],
            },
        },
        "middlewares": {
            "inner-login": {
                "basicAuth": {"users": ["{username}:{bcrypt:password}"], "removeHeader": True}
            }
        },
    }
}


def _containers(facts: Facts) -> tuple[ServiceContainer, ...]:
    roots = facts.settings.get("acmeRoots")
    return (
        ServiceContainer(
            image="traefik",
            command=(*_COMMAND, *_acme(facts)),
            files=() if roots is None else (ServiceFile("roots.pem", roots),),
            health=Health(API_PORT, "/ping"),
            sysctls=_SYSCTLS,
            stop_timeout_s=20,
        ),
    )


def _acme(facts: Facts) -> tuple[str, ...]:
    """Certificates from an ACME server (RFC 8555), proved over HTTP on port 80; kept as data."""
    email = facts.settings.get("acmeEmail")
    if email is None:
        return ()
    chosen = {"email": email, "storage": "/data/acme.json", "httpchallenge.entrypoint": "web"}
    if server := facts.settings.get("acmeServer"):
        chosen["caserver"] = server
    if "acmeRoots" in facts.settings:
        chosen["cacertificates"] = f"{SECRETS_PATH}/roots.pem"
    flag = f"--certificatesresolvers.{_resolver(facts)}.acme"
    return tuple(f"{flag}.{key}={chosen[key]}" for key in chosen)


def _resolver(facts: Facts) -> str:
    """Another for each server: Traefik keeps certificates by this name, and would go on with those
    of the former server for as long as they last."""
    server = facts.settings.get("acmeServer")
    return f"acme-{hashlib.sha256(server.encode()).hexdigest()[:8]}" if server else "acme"


def _secret(facts: Facts) -> SecretKeys:
    del facts
    return {"username": "bunker", "password": Generated()}


def _routing(facts: Facts, dependents: tuple[Dependent, ...]) -> Routing:
    tls = {"certResolver": _resolver(facts)} if "acmeEmail" in facts.settings else {}
    told: dict[str, tuple[str, ...]] = {}
    routers: dict[str, Any] = {}
    services: dict[str, Any] = {}
    for each in dependents:
        hosts = _hosts(each)
        backends = tuple(each.status.get("backends") or ())
        if not hosts or not backends or each.deleting:
            continue
        told[each.uid] = backends
        services[each.uid] = _service(backends)
        for host in hosts:
            routers |= _routers(host, each.uid, tls)
    version = hashlib.sha256(_json({"routers": routers, "services": services})).hexdigest()[:16]
    # Traefik refuses an empty table, and with it the whole file.
    tables = {
        "routers": routers,
        "services": services,
        "serversTransports": _TRANSPORTS if services else {},
        "middlewares": {
            f"gen-{version}": _UNUSED,
            **(_AGAIN if services else {}),
        },
    }
    http = {name: table for name, table in tables.items() if table}
    return Routing(
        files=(
            ServiceFile("routes/inner.yml", _json(_INTERNAL).decode()),
            ServiceFile("routes/apps.yml", _json({"http": http}).decode()),
        ),
        applied=Health(API_PORT, f"/api/http/middlewares/gen-{version}@file"),
        told=told,
    )


def _again(facts: Facts, hour: int) -> tuple[ServiceFile, ...]:
    """Traefik orders a certificate when it is given a new configuration, once, and a name that did
    not lead here yet would never get one: its ticker only renews what there is (watchNewDomains in
    https://github.com/traefik/traefik/blob/master/pkg/provider/acme/provider.go). So it is given
    a new one each hour, of which Let's Encrypt allows five failures a name
    (https://letsencrypt.org/docs/rate-limits/). The routes are in another file: who waits for
    those to be applied does not wait for this."""
    if "acmeEmail" not in facts.settings:
        return ()
    again = {f"hour-{hour}": _UNUSED}
    return (ServiceFile("routes/again.yml", _json({"http": {"middlewares": again}}).decode()),)


def _hosts(app: Dependent) -> list[str]:
    """The names that it has and still wants. While an edit waits to be admitted, what that asks for
    may be another tenant's; and what was taken off is held until nothing of it runs any more."""
    held = app.status.get("allocation") or {}
    spec = held.get("spec") or app.spec
    wanted = {item["host"] for item in spec.get("domains") or ()}
    names = [name["name"] for name in held.get("names") or () if name["scope"] == "host"]
    return [name for name in names if name in wanted]


def _routers(host: str, uid: str, tls: Mapping[str, str]) -> Mapping[str, Any]:
    # One for each entry point: the one for TLS would not answer without.
    rule = f"Host(`{host}`)"
    plain = {"rule": rule, "service": uid, "entryPoints": ["web"], "middlewares": ["again"]}
    return {
        f"{host}-http": plain,
        f"{host}-https": {**plain, "entryPoints": ["websecure"], "tls": tls},
    }


def _service(backends: tuple[str, ...]) -> Mapping[str, Any]:
    servers = [{"url": f"http://{backend}"} for backend in backends]
    return {
        "loadBalancer": {"servers": servers, "passHostHeader": True, "serversTransport": "apps"}
    }


def _json(value: Any) -> bytes:
    """JSON is YAML, and nothing in it can be more than a value."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


SERVICE: Final = ServiceDef(_containers, _secret, _routing, _again)
