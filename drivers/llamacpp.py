"""A llama.cpp server in a container of our own: one model each, ordered over /bunker/model.

What answers is manifests/images/llamacpp; it fetches, checks, loads and serves by itself, so this
driver only orders and looks.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, get_args

from controlplane.errors import RetryableError
from drivers.model_calls import (
    Calls,
    Reply,
    bad_answer,
    number,
    told,
    unavailable,
)
from drivers.models import ModelFailure, ModelOrder, ModelServer, ModelState, Phase

PATH = "/bunker/model"
_PHASES: Final[dict[str, Phase]] = {phase: phase for phase in get_args(Phase)}


@dataclass(slots=True)
class LlamaCpp:
    """Over the network."""

    calls: Calls = field(default_factory=Calls)

    async def observe_model(self, server: ModelServer, name: str, /) -> ModelState | None:
        reply = await self.calls.ask(server, "GET", PATH)
        return None if reply is None else _state(_fine(reply, f"read model '{name}'").body)

    async def ensure_model(self, server: ModelServer, order: ModelOrder, /) -> None:
        body = asdict(order)
        # it knows one model, by the name it was started with
        body["headers"] = dict(order.headers)
        del body["name"], body["insecure"]
        await self._act(server, "PUT", PATH, f"order model '{order.name}'", body)

    async def load_model(
        self, server: ModelServer, name: str, /, *, keep_alive_s: int | None
    ) -> None:
        """How long it stays is what the container was started with."""
        del keep_alive_s
        what = f"load model '{name}'"
        reply = await self.calls.load(server, f"{PATH}/load")
        if reply is None:
            raise unavailable(what)
        _fine(reply, what)

    async def unload_model(self, server: ModelServer, name: str, /) -> None:
        await self._act(server, "POST", f"{PATH}/unload", f"unload model '{name}'")

    async def delete_model(self, server: ModelServer, name: str, /) -> None:
        await self._act(server, "DELETE", PATH, f"delete model '{name}'")

    async def aclose(self) -> None:
        await self.calls.aclose()

    async def _act(
        self,
        server: ModelServer,
        method: str,
        path: str,
        what: str,
        body: Mapping[str, Any] | None = None,
    ) -> None:
        reply = await self.calls.ask(server, method, path, body, timeout_s=30.0)
        if reply is None:
            raise unavailable(what)
        _fine(reply, what)


def _fine(reply: Reply, what: str) -> Reply:
    if reply.status == 401:
        raise RetryableError(
            f"cannot {what}: the server refuses the admin key", reason="KeyRefused"
        )
    if reply.status >= 400:
        cause = told(reply.body) or f"HTTP status {reply.status}"
        raise RetryableError(f"cannot {what}: {cause}", reason="Refused")
    return reply


def _state(body: Mapping[str, Any]) -> ModelState:
    phase = _PHASES.get(str(body.get("phase")))
    if phase is None:
        raise bad_answer(PATH, "not a model's state")
    failure = body.get("failure")
    return ModelState(
        phase=phase,
        order=str(body.get("order", "")),
        source=str(body.get("source", "")),
        digest=str(body.get("digest", "")),
        size_bytes=number(body.get("size")),
        completed_bytes=number(body.get("completed")),
        total_bytes=number(body.get("total")),
        loaded=body.get("loaded") is True,
        failure=_failure(failure) if isinstance(failure, Mapping) else None,
    )


def _failure(found: Mapping[str, Any]) -> ModelFailure:
    age = found.get("age_s")
    return ModelFailure(
        reason=str(found.get("reason", "Failed")),
        message=" ".join(str(found.get("message", "")).split())[:300],
        lasting=found.get("lasting") is True,
        attempts=number(found.get("attempts")),
        age_s=float(age) if isinstance(age, int | float) else 0.0,
    )
