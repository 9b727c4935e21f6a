"""An upgrade recreates no container: what earlier releases made is what this one wants."""

from dataclasses import replace

import pytest

from controlplane.plan import Plan
from resources.meta import Record
from tests.unit.reconcilers.platforms import platform
from tests.unit.reconcilers.world import app, database, world

MADE: list[tuple[Record, str]] = [
    (app(), "bf3aa7caa370367d"),
    (database(version="17"), "b96e06b2c9ed79ff"),
    (database("redis"), "958f66f8edcd3022"),
    (platform("dns"), "1e0c1200ba466c3e"),
    # made anew on purpose at one upgrade, from a69d5a08c4c29ca3: uploads were cut off after 60 s
    (platform("ingress"), "0f35ae2d9bb486be"),
    # made anew on purpose at one upgrade, from 1e0466c23663529f: an older image lets strangers have
    # it write to whom they name
    (platform("mail"), "07a74adb61556106"),
    (platform("metrics"), "93781f19c63662ac 1508f3f78cd2ee07 b3599085a002847f"),
    (platform("models"), "9cd01afe8272a858"),
    (platform("registry"), "46f269f5720ffcf0"),
    (platform("s3"), "c39c5ed06d79fa11"),
    (platform("vault"), "6db32d48718faf22"),
]
"""What an earlier release labelled their containers with, by name. Never edited: who changes what
one is made with also names the former (ContainerSpec.former_commands), or all there are go down at
the upgrade. But a service's configuration is told by its label, and is another once that is."""


@pytest.mark.parametrize(
    ("record", "digests"), MADE, ids=[f"{r.info.kind}-{digests[:4]}" for r, digests in MADE]
)
async def test_what_earlier_releases_made_stays(record: Record, digests: str) -> None:
    made = await world()
    made.engine.add_image("shop:1")
    await made.settle(record)
    containers = sorted(made.engine.containers.values(), key=lambda each: each.state.name)
    for container, digest in zip(containers, digests.split(), strict=True):
        container.state = replace(container.state, digest=f"v1:{digest}")
    assert (await made.look(record))[0] == Plan()
