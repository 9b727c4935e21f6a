"""Value types and the Protocol of servers that hold language models: llama.cpp's, and Ollama.

One face for both: `drivers/llamacpp.py` speaks to a container of our own that holds one model,
`drivers/ollama.py` to an Ollama that holds many. Where and with which key is said in each call.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

Phase = Literal["empty", "pulling", "checking", "loading", "ready", "failed"]
"""`empty`: it isn't there. `checking`: somebody touched the file, and its digest is being read."""


@dataclass(frozen=True, slots=True)
class ModelServer:
    """One server."""

    url: str
    """Base URL. Example: `http://10.201.0.5:8080`."""
    key: str = field(default="", repr=False)
    """Bearer key of its control side; "" if it has none."""


@dataclass(frozen=True, slots=True)
class ModelOrder:
    """What a server shall hold, and where it comes from."""

    order: str
    """Changes whenever another attempt may end otherwise; the same one is carried out once."""
    name: str
    """What the server calls it."""
    source: str
    """Where it comes from, without any secret: an Ollama name, or what names a file."""
    url: str = field(default="", repr=False)
    """Where the file is fetched; may hold a signature."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    digest: str = ""
    """`sha256:...` it must have; "": any."""
    max_bytes: int = 0
    """Room for it."""
    insecure: bool = False
    """Ollama: speak HTTP without TLS to the registry that the source names."""
    oci: bool = False
    """`url` is the manifest of an artifact in a container registry, one layer of which it is."""


@dataclass(frozen=True, slots=True)
class ModelFailure:
    """How the last attempt ended."""

    reason: str
    message: str
    lasting: bool
    """The same order would fail again."""
    attempts: int
    """How many in a row."""
    age_s: float


@dataclass(frozen=True, slots=True)
class ModelState:
    """What a server holds of one model."""

    phase: Phase
    order: str = ""
    """The last order it took; "" if it doesn't remember."""
    source: str = ""
    digest: str = ""
    size_bytes: int = 0
    completed_bytes: int = 0
    total_bytes: int = 0
    """0: not known."""
    loaded: bool = False
    """It is in memory now."""
    expires_in_s: float | None = None
    """When it leaves memory, if the server tells."""
    failure: ModelFailure | None = None
    others: tuple[str, ...] = ()
    """Further names under which this server holds an earlier source of the same record, or is
    fetching it: an order for it, or what came of that, is there until that name is deleted."""


class Models(Protocol):
    """Servers that hold models. Every call has a timeout; a server that does not answer is None
    where it is observed, and RetryableError (reason ServerUnavailable) where it should act. One
    that answers what it shouldn't is RetryableError (BadAnswer, KeyRefused)."""

    async def observe_model(self, server: ModelServer, name: str, /) -> ModelState | None: ...

    async def ensure_model(self, server: ModelServer, order: ModelOrder, /) -> None:
        """Begin to fetch it, unless this order is under way or fulfilled. Returns at once: what
        becomes of it is observed."""
        ...

    async def load_model(
        self, server: ModelServer, name: str, /, *, keep_alive_s: int | None
    ) -> None:
        """Into memory, for so long after each use; None: for ever. Raises RetryableError (Loading)
        if that takes long: it goes on."""
        ...

    async def unload_model(self, server: ModelServer, name: str, /) -> None:
        """Out of memory. Not loaded, or absent: success."""
        ...

    async def delete_model(self, server: ModelServer, name: str, /) -> None:
        """The model, and what was begun of it. Absent: success."""
        ...

    async def aclose(self) -> None: ...
