"""Ages as kubectl prints them: "5m3s", "2d". Nothing but the formatting."""

from datetime import datetime

from controlplane.clock import parse_time


def age(value: object, now: datetime) -> str:
    """How long ago `value` was; `<unknown>` when it isn't a time."""
    when = parse_time(value)
    return "<unknown>" if when is None else human_duration(int((now - when).total_seconds()))


def human_duration(seconds: int) -> str:
    """Two significant units at most, fewer the longer ago.

    The steps are those of k8s.io/apimachinery/pkg/util/duration HumanDuration, so that our
    tables and those that kubectl builds itself agree.
    """
    if seconds < -1:
        return "<invalid>"
    if seconds < 120:
        return f"{max(seconds, 0)}s"
    minutes, hours = seconds // 60, seconds // 3600
    if minutes < 180:
        return _pair(minutes, "m", seconds % 60 if minutes < 10 else 0, "s")
    if hours < 48:
        return _pair(hours, "h", minutes % 60 if hours < 8 else 0, "m")
    return _long(hours)


def _long(hours: int) -> str:
    days = hours // 24
    if days < 365 * 2:
        return _pair(days, "d", hours % 24 if days < 8 else 0, "h")
    return _pair(days // 365, "y", days % 365 if days < 365 * 8 else 0, "d")


def _pair(large: int, unit: str, small: int, small_unit: str) -> str:
    return f"{large}{unit}{small}{small_unit}" if small else f"{large}{unit}"
