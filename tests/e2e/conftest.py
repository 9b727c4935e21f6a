"""Installations for the end-to-end tests: one shared, and private ones to be broken."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from typing import Protocol

import pytest

from tests.e2e import records
from tests.e2e.cloud import Cloud, Timeout
from tests.e2e.pods import NS, TALK, web

_NUMBERS = count()


class MakeCloud(Protocol):
    def __call__(self, **env: str) -> AbstractContextManager[Cloud]: ...


@pytest.fixture(scope="session")
def make_cloud(tmp_path_factory: pytest.TempPathFactory) -> MakeCloud:
    """A context manager that starts an installation and leaves nothing of it behind."""

    @contextmanager
    def made(**env: str) -> Iterator[Cloud]:
        instance = f"e2e-{os.getpid()}-{next(_NUMBERS)}"
        cloud = Cloud(tmp_path_factory.mktemp("cloud") / "data", instance, env)
        try:
            yield cloud.start()
        finally:
            cloud.destroy()

    return made


@pytest.fixture(scope="session")
def cloud(make_cloud: MakeCloud) -> Iterator[Cloud]:
    """One for all tests that harm nothing but their own namespace."""
    with make_cloud() as shared:
        yield shared


@pytest.fixture
def private_cloud(make_cloud: MakeCloud) -> Iterator[Cloud]:
    """One to be broken."""
    with make_cloud() as own:
        yield own


@pytest.fixture(scope="module")
def busy(make_cloud: MakeCloud) -> Iterator[Cloud]:
    """One with Pods of an App that serves, one that talks, and a PostgreSQL."""
    with make_cloud() as cloud:
        make_namespace(cloud, NS)
        cloud.apply(
            records.postgres("pg", NS),
            web(),
            records.app("talker", NS, port=None, command=["sh", "-c", TALK]),
        )
        for kind, name in (("database", "pg"), ("app", "web"), ("app", "talker")):
            cloud.wait_ready(kind, name, NS)
        yield cloud


@pytest.fixture
def namespace(cloud: Cloud, request: pytest.FixtureRequest) -> Iterator[str]:
    """A Ready namespace of the test's own in the shared cloud, deleted after it."""
    name = f"t{next(_NUMBERS)}"
    make_namespace(cloud, name)
    yield name
    cloud.kubectl("delete", "namespace", name, "--wait=false")
    try:
        cloud.wait_gone("namespace", name)
    except Timeout:
        left = cloud.kubectl("get", "databases,apps,secrets", "-n", name, check=False)
        pytest.fail(f"namespace {name} of {request.node.name} did not go away:\n{left}")


def make_namespace(cloud: Cloud, name: str) -> None:
    cloud.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    cloud.wait_ready("namespace", name)
