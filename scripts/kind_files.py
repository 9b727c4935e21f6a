"""scripts/new-kind: the files of a new kind, from templates, and its line in the two lists.

The kind it makes is small and complete: a container from an image, healed, told and removed. It
compiles, passes the checks and has tests, so that what is changed next is changed from green.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAME = re.compile(r"[A-Z][A-Za-z]{1,40}")

MODEL = '''"""{Kind}: what a user may ask of one. No I/O."""

from typing import ClassVar

from pydantic import Field

from resources.columns import AGE, Column, ready
from resources.meta import (Footprint, KindInfo, Resource, Resources,)
from resources.meta import Spec as BaseSpec
from resources.meta import Status as BaseStatus
from resources.text import ImageReference


class {Kind}Spec(BaseSpec):
    image: ImageReference
    """Image it runs from. Example: `example/{kind}:1`."""
    resources: Resources = Field(
        default=Resources.model_validate({{"cpu": "100m", "memory": "128Mi"}})
    )
    """CPU and memory it runs with. Default: `{{cpu: 100m, memory: 128Mi}}`."""


class {Kind}Status(BaseStatus):
    container: str | None = None
    """Name of the container it runs in."""


class {Kind}(Resource[{Kind}Spec, {Kind}Status]):
    """A {kind} in a container of its own."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="{Kind}",
        plural="{plural}",
        singular="{kind}",
        categories=("all",),
        columns=(
            ready("Whether it serves"),
            AGE,
            Column("Image", ".spec.image", priority=1, description="Image it runs from"),
        ),
        needs_namespace_network=True,
    )
    spec: {Kind}Spec
    status: {Kind}Status = Field(default_factory={Kind}Status)

    @property
    def footprint(self) -> Footprint:
        return self.spec.resources.footprint
'''

RECONCILER = '''"""{Kind}: one container, kept as its record says."""

from dataclasses import dataclass

from controlplane.plan import Plan, Reconciler, Report, Wait, Want
from drivers.containers import (
    Containers,
    ContainerSpec,
    ContainerState,
    Limits,
    NetworkAttachment,
)
from reconcilers import _container as box
from resources.{kind} import {Kind}, {Kind}Status


@dataclass(frozen=True, slots=True)
class {Kind}Seen:
    """What runs of it."""

    container: ContainerState | None
    image_here: bool
    network_id: str | None


@dataclass(frozen=True, slots=True)
class {Kind}Reconciler(Reconciler[{Kind}, {Kind}Seen, box.ContainerStep]):
    containers: Containers
    steps: box.ContainerSteps

    async def observe(self, want: Want[{Kind}], /) -> {Kind}Seen:
        record = want.record
        image = await self.containers.observe_image(record.spec.image)
        network = await self.containers.observe_network(want.network)
        container = await self.containers.observe_container(
            record.owned_name, record.metadata.uid
        )
        return {Kind}Seen(container, image is not None, network.id if network else None)

    def plan(self, want: Want[{Kind}], seen: {Kind}Seen, /) -> Plan[box.ContainerStep]:
        spec = _spec(want)
        if want.deleting:
            if seen.container is None:
                return Plan()
            return Plan((box.RemoveContainer(seen.container.id, spec.stop_timeout_s),))
        if not want.network_ready or seen.network_id is None:
            return Plan(wait=Wait("NamespaceNotReady", "waiting for the namespace's network"))
        steps = box.plan_container(spec, seen.container, seen.network_id)
        if steps and not seen.image_here:
            steps = (box.EnsureImage(spec.image), *steps)
        if not steps and seen.container is not None:
            return Plan(wait=box.trouble(seen.container))
        return Plan(steps)

    def status(self, want: Want[{Kind}], seen: {Kind}Seen, /) -> Report:
        state = seen.container
        status = {Kind}Status(container=state.name if state else None)
        ready = state is not None and state.running and not state.paused and not want.deleting
        reason, message = ("Serving", "it runs") if ready else ("NotServing", "it does not run")
        in_use = box.held(state) if state else box.held()
        return Report(status, ready, reason, message, in_use=in_use)

    async def apply(self, step: box.ContainerStep, /) -> None:
        await self.steps.apply(step)


def _spec(want: Want[{Kind}]) -> ContainerSpec:
    record = want.record
    limits = record.spec.resources
    return box.sealed(
        ContainerSpec(
            name=record.owned_name,
            owner=box.owner_of(record),
            image=record.spec.image,
            digest="",
            limits=Limits(limits.cpu, limits.memory),
            networks=(NetworkAttachment(want.network, (record.metadata.name,)),),
        )
    )
'''

MANIFEST = """# A {kind} in a container of its own.
apiVersion: bunker.cloud/v1
kind: {Kind}
metadata:
  name: my-{kind}
spec:
  image: bunker.local/demo:1
"""

TEST = '''"""What is planned for a {Kind}, and that its plans lead where the spec says."""

from typing import Any

import pytest

from controlplane.plan import Plan
from drivers.containers import Limits
from resources.{kind} import {Kind}
from tests.unit.reconcilers.world import NETWORK, World, record

NAME = "{kind}-shop-shop-uuuuuuuu"


async def world() -> World:
    made = World()
    await made.network()
    return made


def wanted(*, deleting: bool = False, **spec: Any) -> {Kind}:
    found = record("{Kind}", {{"image": "example:1", **spec}}, deleting=deleting)
    assert isinstance(found, {Kind})
    return found


async def test_it_runs_as_the_spec_says_and_then_plans_nothing() -> None:
    made = await world()
    report = await made.settle(wanted())
    state = made.engine.by_name(NAME).state
    assert report.ready
    assert (state.image, state.limits) == ("example:1", Limits(100, 128 * 2**20))
    assert state.aliases == {{NETWORK: ("shop",)}}
    assert (await made.look(wanted()))[0] == Plan()


@pytest.mark.parametrize("harm", ["kill", "pause", "remove"])
async def test_what_others_do_to_it_is_mended(harm: str) -> None:
    made = await world()
    await made.settle(wanted())
    getattr(made.engine, harm)(NAME)
    assert (await made.settle(wanted())).ready


async def test_another_image_needs_another_container() -> None:
    made = await world()
    await made.settle(wanted())
    await made.settle(wanted(image="example:2"))
    assert made.engine.by_name(NAME).state.image == "example:2"


async def test_a_missing_image_is_fetched_first() -> None:
    made = await world()
    made.containers = type(made.containers)(made.engine, images="upstream")
    plan, _ = await made.look(wanted())
    assert [type(step).__name__ for step in plan.steps] == ["EnsureImage", "RunContainer"]


async def test_it_waits_for_its_network() -> None:
    plan, report = await World().look(wanted())
    assert plan.wait is not None
    assert not report.ready


async def test_one_that_keeps_dying_is_told() -> None:
    made = await world()
    await made.settle(wanted())
    made.engine.restart_loop(NAME)
    plan, _ = await made.look(wanted())
    assert plan.wait is not None
    assert plan.wait.reason == "CrashLooping"


async def test_deleting_removes_it() -> None:
    made = await world()
    await made.settle(wanted())
    await made.settle(wanted(deleting=True))
    assert not made.engine.containers
'''


def insert(path: Path, marker: str, line: str) -> None:
    """Put `line` before the first line that is `marker`, keeping imports sorted by ruff later."""
    text = path.read_text()
    if line.strip() in text:
        return
    head, found, tail = text.partition(marker)
    if not found:
        raise SystemExit(f"error: {path.name} has no line {marker.strip()!r}; add the kind by hand")
    path.write_text(head + line + found + tail)


def files(kind: str, plural: str) -> dict[str, str]:
    """Path -> content of every new file."""
    low = kind.lower()
    names = {"Kind": kind, "kind": low, "plural": plural}
    return {
        f"resources/{low}.py": MODEL.format(**names),
        f"reconcilers/{low}.py": RECONCILER.format(**names),
        f"manifests/kinds/{low}.yaml": MANIFEST.format(**names),
        f"tests/unit/reconcilers/test_{low}.py": TEST.format(**names),
    }


def make(root: Path, kind: str, plural: str) -> list[str]:
    """Write them; returns the paths. Refuses a kind that exists."""
    low = kind.lower()
    if (root / f"resources/{low}.py").exists():
        raise SystemExit(f"error: there is a kind {kind} already: resources/{low}.py")
    made = files(kind, plural)
    for path, content in made.items():
        (root / path).write_text(content)
    kinds, registry = root / "resources/kinds.py", root / "reconcilers/registry.py"
    insert(kinds, "from resources.quota", f"from resources.{low} import {kind}\n")
    insert(kinds, ")\n\nKIND_INFOS", f"    {kind},\n")
    insert(registry, "from reconcilers.quota", f"from reconcilers.{low} import {kind}Reconciler\n")
    line = f'    "{kind}": lambda given: {kind}Reconciler(given.containers, given.steps),\n'
    insert(registry, '}\n"""By kind', line)
    return [*made, "resources/kinds.py", "reconcilers/registry.py"]


def main() -> int:
    """Exit status."""
    words = sys.argv[1:]
    if not words or not NAME.fullmatch(words[0]):
        print("usage: scripts/new-kind Mailbox [plural]   (a word in CamelCase)", file=sys.stderr)
        return 2
    kind = words[0]
    plural = words[1] if len(words) > 1 else kind.lower() + ("es" if kind.endswith("x") else "s")
    for path in make(ROOT, kind, plural):
        print(path)
    print("now: scripts/gen-docs && scripts/check && scripts/test --fast; docs/adding-a-kind.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
