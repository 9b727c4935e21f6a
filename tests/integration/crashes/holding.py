"""What a server of the platform holds, asked of itself and past our drivers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from drivers.containers import ContainerState


@dataclass(frozen=True, slots=True)
class At:
    """One running server."""

    state: ContainerState
    address: str
    """In the platform's network."""
    login: Mapping[str, str]
    """What its Secret says."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What one server holds."""

    things: frozenset[str]
    """Identities: another one of its name has another."""
    tree: Callable[[], Any]
    """All that a user could mind, in words that two runs share. Raises OSError."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """What stands for words that are this run's alone."""
    wrong: str = ""
    """What it may not come to in any run."""
