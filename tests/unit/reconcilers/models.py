"""Models, the world they are served in, and words to speak of them."""

from dataclasses import replace
from typing import Any

from controlplane.plan import Resolved
from drivers.containers import ContainerSpec, Limits, NetworkAttachment, NetworkSpec, Owner
from drivers.digest import container_digest
from drivers.fake.models import FakeFile
from resources.model import Model
from tests.unit.reconcilers.world import World, record

NAME = "model-shop-shop-uuuuuuuu"
VOLUME = "model-shop-shop-gguf-nnnnnnnn"
URL = "http://models.test/tiny.gguf"
GOOD = FakeFile("sha256:" + "a" * 64, 5000)
SERVICE_UID = "pppppppp-1"
PLATFORM_NETWORK = "namespace-platform-pppppppp"


def model(*, deleting: bool = False, **spec: Any) -> Model:
    found = record("Model", {"source": {"url": URL}, **spec}, deleting=deleting)
    assert isinstance(found, Model)
    return found


def ollama(*, deleting: bool = False, **spec: Any) -> Model:
    given = {"engine": "ollama", "source": {"name": "tiny:1b"}, **spec}
    return model(deleting=deleting, **given)


async def world() -> World:
    made = World()
    await made.network()
    made.llamacpp.sources[URL] = GOOD
    made.ollama.sources["tiny:1b"] = GOOD
    return made


async def served(made: World, *, ready: bool = True) -> None:
    """The platform's own Ollama, with its container in its own network."""
    owner = Owner(SERVICE_UID, "Platform", "platform", "models")
    network = Owner("ns", "Namespace", "", "platform")
    await made.containers.ensure_network(NetworkSpec(PLATFORM_NETWORK, network, "10.202.0.0/24"))
    blank = ContainerSpec(
        "platform-models", owner, "ollama:1", "", Limits(100, 1 << 28),
        networks=(NetworkAttachment(PLATFORM_NETWORK, ("models",)),),
    )  # fmt: skip
    state = await made.containers.ensure_container(replace(blank, digest=container_digest(blank)))
    await made.containers.start_container(state.id)
    found = made.engine.containers[state.id].state.networks[PLATFORM_NETWORK]
    status = {"endpoints": {"api": f"{found}:8080"}}
    made.services["models"] = Resolved(
        "Platform", "models", SERVICE_UID, ready, "", spec={}, status=status
    )


async def until_done(made: World, wanted: Model) -> Any:
    """Past the waits of a pull."""
    report = await made.settle(wanted)
    for _ in range(4):
        if not report.ready:
            report = await made.settle(wanted)
    return report
