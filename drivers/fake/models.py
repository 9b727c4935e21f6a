"""Model servers that exist only in a table."""

import hashlib
from dataclasses import dataclass, field, replace

from controlplane.errors import RetryableError
from drivers.fake.engine import Container, FakeEngine
from drivers.fake.faults import Faults
from drivers.fake.secretfiles import ReadFiles
from drivers.model_calls import unavailable
from drivers.models import ModelFailure, ModelOrder, ModelServer, ModelState


@dataclass(frozen=True, slots=True)
class FakeFile:
    """What a source gives."""

    digest: str
    size_bytes: int
    loadable: bool = True


@dataclass(slots=True)
class Held:
    """One model on one server, or what became of an order for it."""

    order: ModelOrder
    file: FakeFile | None = None
    failure: ModelFailure | None = None
    steps_left: int = 0
    """Looks until its pull has ended."""
    loaded: bool = False
    keep_alive_s: int | None = None
    present: bool = False
    kept: FakeFile | None = None
    """What was there before an order for something else, which failed."""

    @property
    def here(self) -> FakeFile | None:
        return self.file if self.present else self.kept


@dataclass(slots=True)
class FakeModels:
    """`sources` maps what an order names (its url, else its source) to a file; with `any_source`
    there is one behind every name. `looks` is how often a pull is seen before it ends; `away` are
    servers that don't answer; `writes` counts what changed, `pulls` what was fetched for it."""

    sources: dict[str, FakeFile] = field(default_factory=dict)
    any_source: bool = False
    held: dict[tuple[str, str], Held] = field(default_factory=dict)
    """By server (its URL, or the volume of its container) and name."""
    away: set[str] = field(default_factory=set)
    engine: FakeEngine | None = None
    """Servers are containers of this engine, each with its model on its volume; how long that
    stays in memory is what the container was started with. None: servers are just there."""
    read_files: ReadFiles | None = None
    """Those of such a container: its key is in `admin`. None: whoever asks is let in."""
    looks: int = 1
    keep_alive_s: int | None = 300
    writes: int = 0
    pulls: int = 0
    faults: Faults = field(default_factory=Faults)

    def __post_init__(self) -> None:
        if self.engine is not None:
            self.engine.when_volume_goes(self._volume_gone)

    def _volume_gone(self, volume: str) -> None:
        for key in [key for key in self.held if key[0] == volume]:
            del self.held[key]

    def _key(self, server: ModelServer, name: str) -> tuple[str, str]:
        if self.engine is None:
            return (server.url, name)
        found = self._container(server)
        volumes = found.spec.volumes if found is not None and found.spec is not None else ()
        return (volumes[0].volume if volumes else "", name)

    def _container(self, server: ModelServer) -> Container | None:
        """The running one with the server's address."""
        address = server.url.partition("//")[2].partition(":")[0]
        containers = self.engine.containers.values() if self.engine else ()
        for each in containers:
            if address in each.state.networks.values() and each.state.running:
                return None if each.state.paused else each
        return None

    def _answers(self, server: ModelServer) -> bool:
        here = self.engine is None or self._container(server) is not None
        return here and server.url not in self.away

    def _enter(self, verb: str, server: ModelServer) -> None:
        self.faults.enter(verb)
        if verb != "observe_model" and not self._answers(server):
            raise unavailable(verb.replace("_", " "))

        self._check_key(verb, server)

    def _check_key(self, verb: str, server: ModelServer) -> None:
        """The file is read at each request, as the image does."""
        container = self._container(server) if self.read_files is not None else None
        if container is None or self.read_files is None:
            return
        files = self.read_files(container.state.id) or {}
        if not server.key or files.get("admin", b"").decode() != server.key:
            what = verb.replace("_", " ")
            told = f"cannot {what}: the server refuses the admin key"
            raise RetryableError(told, reason="KeyRefused")

    async def observe_model(self, server: ModelServer, name: str, /) -> ModelState | None:
        self._enter("observe_model", server)
        if not self._answers(server):
            return None
        others = self._others(server, name)
        found = self.held.get(self._key(server, name))
        if found is None:
            return ModelState("empty", others=others)
        if found.steps_left > 0:
            found.steps_left -= 1
            total = found.file.size_bytes if found.file else 0
            part = total * (self.looks - found.steps_left) // (self.looks + 1)
            return ModelState(
                "pulling",
                found.order.order,
                found.order.source,
                completed_bytes=part,
                total_bytes=total,
                others=others,
            )
        self._end(found)
        if found.failure is not None:
            return self._failed(found, others)
        if not found.present or found.file is None:
            return ModelState("empty", found.order.order, others=others)
        return ModelState(
            "ready",
            found.order.order,
            found.order.source,
            found.file.digest,
            found.file.size_bytes,
            found.file.size_bytes,
            found.file.size_bytes,
            found.loaded,
            expires_in_s=self._left_s(found),
            others=others,
        )

    def _failed(self, found: Held, others: tuple[str, ...]) -> ModelState:
        state = ModelState("failed", found.order.order, failure=found.failure, others=others)
        if found.kept is None:
            return state
        kept, left_s = found.kept, self._left_s(found)
        return replace(
            state,
            digest=kept.digest,
            size_bytes=kept.size_bytes,
            loaded=found.loaded,
            expires_in_s=left_s,
        )

    def _left_s(self, found: Held) -> float | None:
        if not found.loaded or self.engine is not None:
            return None
        return 1e9 if found.keep_alive_s is None else float(found.keep_alive_s)

    def _others(self, server: ModelServer, name: str) -> tuple[str, ...]:
        url, _ = self._key(server, name)
        stem = name.rpartition(":")[0]
        same = (held for place, held in self.held if place == url and held != name)
        return tuple(sorted(held for held in same if stem and held.rpartition(":")[0] == stem))

    def _end(self, found: Held) -> None:
        """The pull's last moment: what it brought is judged."""
        if found.failure is not None or found.present or found.steps_left < 0:
            return
        found.steps_left = -1
        order, file = found.order, found.file
        if file is None:
            self._fail(found, "SourceMissing", "there is nothing at the source", lasting=False)
        elif file.size_bytes > order.max_bytes:
            message = f"it is larger than its storage of {order.max_bytes} bytes"
            self._fail(found, "TooLarge", message, lasting=True)
        elif order.digest and file.digest != order.digest:
            message = f"it has digest {file.digest}, and {order.digest} was asked for"
            self._fail(found, "DigestMismatch", message, lasting=True)
        elif not file.loadable:
            self._fail(found, "LoadFailed", "llama.cpp refused the file", lasting=False)
        else:
            found.present, found.loaded = True, True
            # a server keeps what it has, not how it was asked for
            found.order = ModelOrder(order.order, order.name, order.source)

    def _fail(self, found: Held, reason: str, message: str, *, lasting: bool) -> None:
        before = found.failure.attempts if found.failure else 0
        found.failure = ModelFailure(reason, message, lasting, before + 1, 0.0)

    async def ensure_model(self, server: ModelServer, order: ModelOrder, /) -> None:
        self._enter("ensure_model", server)
        key = self._key(server, order.name)
        found = self.held.get(key)
        same = found is not None and found.order.order == order.order
        if same and found is not None and (found.steps_left > 0 or found.present):
            return
        self.writes += 1
        if found is not None and self._fits(found, order):
            # a server keeps what it has, not how it was asked for
            bare = ModelOrder(order.order, order.name, order.source)
            left = found.loaded, found.keep_alive_s
            self.held[key] = Held(bare, found.here, None, 0, *left, present=True)
            return
        held = Held(order, self._file(order.url or order.source), steps_left=self.looks)
        held.keep_alive_s = self.keep_alive_s
        if self.engine is None and found is not None:  # in a container there is room for one alone
            held.kept, held.loaded = found.here, found.loaded
        self.held[key] = held
        self.pulls += 1

    def _file(self, source: str) -> FakeFile | None:
        if source in self.sources or not self.any_source:
            return self.sources.get(source)
        return FakeFile(f"sha256:{hashlib.sha256(source.encode()).hexdigest()}", len(source))

    def _fits(self, found: Held, order: ModelOrder) -> bool:
        if found.here is None:
            return False
        if order.digest:
            return found.here.digest == order.digest
        return found.order.source == order.source

    async def load_model(
        self, server: ModelServer, name: str, /, *, keep_alive_s: int | None
    ) -> None:
        self._enter("load_model", server)
        found = self.held.get(self._key(server, name))
        if found is not None and found.present:
            found.loaded, found.keep_alive_s = True, keep_alive_s
            self.writes += 1

    async def unload_model(self, server: ModelServer, name: str, /) -> None:
        self._enter("unload_model", server)
        found = self.held.get(self._key(server, name))
        if found is not None and found.loaded:
            found.loaded = False
            self.writes += 1

    async def delete_model(self, server: ModelServer, name: str, /) -> None:
        self._enter("delete_model", server)
        if self.held.pop(self._key(server, name), None) is not None:
            self.writes += 1

    async def aclose(self) -> None:
        """Nothing is open."""
