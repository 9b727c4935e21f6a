"""Servers for the S3 driver: one container for all its tests, a bucket name for each."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from reconcilers._images import service_image
from reconcilers._service_s3 import COMMAND, ENV, identities
from tests.containers import Running, bench, wait_until
from tests.contract.s3.worlds import (
    ADMIN,
    SECRET,
    FakeWorld,
    RealWorld,
    World,
    allowing,
    make_bucket,
    make_user,
)


@pytest.fixture(scope="package")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder: Path = tmp_path_factory.mktemp("s3")
    (folder / "s3.json").write_text(identities(ADMIN, SECRET))
    folder.chmod(0o755)
    image = service_image("seaweedfs", source="local")
    with bench() as made:
        options = (
            f"--user={image.user}",
            "--memory=512m",
            "--tmpfs=/tmp",
            f"--volume={folder}:/run/secrets:ro",
            f"--volume={made.volume()}:/data",
            *(f"--env={name}={value}" for name, value in ENV.items()),
        )
        started = made.run(image.reference, *COMMAND, options=options)
        wait_until(lambda: "added volume server" in started.logs(), of=started)
        wait_until(lambda: "bucket owner index ready" in started.logs(), of=started)
        yield started


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.docker)])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    fake = request.param == "fake"
    found: World = FakeWorld() if fake else RealWorld(request.getfixturevalue("running"))
    yield found
    await found.driver.aclose()


@pytest.fixture
async def user(world: World) -> AsyncIterator[str]:
    """A user with KEY who may read and write; gone afterwards, as KEY is but one."""
    await make_bucket(world)
    name = await make_user(world, allowing(world, "GetObject", "PutObject", "DeleteObject"))
    yield name
    await world.driver.delete_user(world.server, name)
