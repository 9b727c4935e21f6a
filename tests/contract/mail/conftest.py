"""Mail servers for one suite: the fake, Postfix and Dovecot in a container, and Mailcow."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from drivers.docker import DockerContainers
from drivers.docker_calls import DockerConfig
from tests.containers import INSTANCE, Running, bench
from tests.contract.mail.asked import domain
from tests.contract.mail.worlds import FakeWorld, MailcowWorld, RealWorld, World, start_server
from tests.support.keys import rsa_key
from tests.support.mailcow import Mailcow, server_of


@pytest.fixture(scope="package")
def key() -> str:
    return rsa_key()


@pytest.fixture(scope="package")
def running() -> Iterator[Running]:
    with bench() as made:
        yield start_server(made)


@pytest.fixture(params=["fake", "mailcow", pytest.param("real", marks=pytest.mark.docker)])
async def world(request: Any) -> AsyncIterator[World]:
    if request.param == "fake":
        yield FakeWorld()
    elif request.param == "mailcow":
        mailcow = Mailcow()
        imap = await asyncio.start_server(mailcow.imap, "127.0.0.1", 0)
        port = imap.sockets[0].getsockname()[1]
        async with server_of(mailcow) as http, imap:
            yield MailcowWorld(mailcow, str(http.make_url("")), f"imap://127.0.0.1:{port}")
    else:
        running = request.getfixturevalue("running")
        config = DockerConfig(instance=INSTANCE, images="local")
        async with aclosing(DockerContainers(config)) as containers:
            yield RealWorld(running, containers)


@pytest.fixture
async def served(world: World) -> World:
    await world.driver.ensure_domain(world.server, domain(world))
    return world
