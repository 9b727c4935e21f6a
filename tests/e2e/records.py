"""Records that the end-to-end tests write, in the wire form a user would."""

from typing import Any

from reconcilers._images import DEMO

Json = dict[str, Any]

# Small, so that many fit on a test machine.
SMALL = {"cpu": "50m", "memory": "48Mi"}


def _record(kind: str, name: str, namespace: str, spec: Json) -> Json:
    return {
        "apiVersion": "bunker.cloud/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def postgres(name: str, namespace: str, **spec: Any) -> Json:
    """A small PostgreSQL, reachable from the host."""
    small = {"resources": {"cpu": "200m", "memory": "128Mi"}, "storage": "64Mi", "publish": {}}
    return _record("Database", name, namespace, {"engine": "postgres", **small, **spec})


def redis(name: str, namespace: str, **spec: Any) -> Json:
    """A small Redis, reachable from the host: the quickest Database to start."""
    small = {"resources": SMALL, "storage": "64Mi", "publish": {}}
    return _record("Database", name, namespace, {"engine": "redis", **small, **spec})


def app(name: str, namespace: str, **spec: Any) -> Json:
    """A web server that needs nothing."""
    serve = {
        "image": DEMO,
        "command": ["python3", "-m", "http.server", "8080", "--directory", "/tmp"],
        "port": 8080,
        "resources": SMALL,
    }
    return _record("App", name, namespace, {**serve, **spec})
