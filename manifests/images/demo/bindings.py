"""Where the app's database and cache are: variables, files named by variables, or bindings.

Read on every use, never kept: a rotated password is a changed file.
"""

import os
from pathlib import Path
from urllib.parse import quote

_SCHEMES = {"postgresql": "postgresql", "postgres": "postgresql", "redis": "redis"}


def url_of(kind: str) -> str | None:
    """The URL of a `postgresql` or `redis`, or None if the app was given none.

    In this order: DATABASE_URL or REDIS_URL, the same with _FILE, DATABASE_HOST and its like
    (REDIS_HOST ...), then https://servicebinding.io: $SERVICE_BINDING_ROOT/<name>/{type,uri,...}.
    """
    prefix = "DATABASE" if kind == "postgresql" else "REDIS"
    if url := os.environ.get(f"{prefix}_URL"):
        return url
    if path := os.environ.get(f"{prefix}_URL_FILE"):
        return Path(path).read_text().strip()
    names = ("uri", "host", "port", "username", "password", "database")
    values = {name: os.environ.get(f"{prefix}_{name.upper()}", "") for name in names}
    if values["host"]:
        return _assemble(kind, values)
    return _from_bindings(kind)


def _from_bindings(kind: str) -> str | None:
    root = os.environ.get("SERVICE_BINDING_ROOT", "")
    if not root:
        return None
    for folder in sorted(Path(root).iterdir()):
        values = {f.name: f.read_text().strip() for f in folder.iterdir() if f.is_file()}
        if _SCHEMES.get(values.get("type", "")) == kind:
            return values.get("uri") or _assemble(kind, values)
    return None


def _assemble(kind: str, values: dict[str, str]) -> str:
    user = quote(values.get("username", ""), safe="")
    password = quote(values.get("password", ""), safe="")
    port = values.get("port") or ("5432" if kind == "postgresql" else "6379")
    place = f"{values['host']}:{port}/{values.get('database', '')}"
    return f"{kind}://{user}:{password}@{place}"
