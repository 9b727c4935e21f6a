"""What a Redis goes by as it runs, which need not be what it would read at its next start."""

from typing import Final

import redis

from tests.integration.crashes.holding import At, Holding

TIMEOUT_S: Final = 5.0
SETTINGS: Final = ("maxmemory", "maxmemory-policy", "appendonly", "dir")


def cache(at: At) -> Holding:
    """Raises OSError where it doesn't answer, or is another database server."""
    if "redis" not in at.state.image:
        raise OSError("no redis")
    password = at.login.get("password", "")
    try:
        with redis.Redis(at.address, password=password, socket_timeout=TIMEOUT_S) as client:
            told = client.config_get(*SETTINGS)
    except redis.RedisError as exc:
        raise OSError(str(exc)) from exc
    memory = at.state.limits.memory_bytes
    fits = int(told["maxmemory"]) == memory * 3 // 4
    wrong = "" if fits else f"maxmemory {told['maxmemory']} in a container of {memory}"
    return Holding(frozenset(), lambda: told, wrong=wrong)
