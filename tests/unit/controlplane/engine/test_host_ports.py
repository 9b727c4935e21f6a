"""Host ports: whose they are while a record is edited, and which of its own leads where."""

from typing import Any

from controlplane.records import Key
from tests.support.platform import Platform
from tests.support.running import USER
from tests.support.virtual import in_virtual_time

MAIL = Key("Platform", "platform", "mail")
HOME = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "platform"}}
NAMES = {25: "smtp", 587: "submission", 993: "imaps"}


async def published(platform: Platform, *ports: Any) -> dict[str, int]:
    """By name: where its container listens on the host, and its status says so."""
    await platform.apply("Platform", "mail", "platform", service="mail", publish=list(ports))
    await platform.settle(60)
    specs = [each.spec for each in platform.engine.containers.values() if each.spec is not None]
    found = {NAMES[port.container_port]: port.host_port for spec in specs for port in spec.ports}
    told = platform.status(MAIL)["published"]
    assert told == {name: f"127.0.0.1:{number}" for name, number in found.items()}
    assert sorted(platform.status(MAIL)["allocation"].get("ports", ())) == sorted(found.values())
    return found


@in_virtual_time
async def test_a_port_of_a_service_keeps_its_number_when_others_come_and_go() -> None:
    smtp, submission, imaps = (
        {"name": "smtp", "port": 25},
        {"name": "submission"},
        {"name": "imaps"},
    )
    async with Platform().running() as platform:
        await platform.records.create("Namespace", HOME, actor=USER)
        await platform.settle(5)
        assert await published(platform, smtp, submission) == {"smtp": 25, "submission": 30000}
        assert await published(platform, submission) == {"submission": 30000}
        assert await published(platform, imaps, submission) == {"imaps": 30001, "submission": 30000}
        assert await published(platform, smtp) == {"smtp": 25}
        assert await published(platform, imaps) == {"imaps": 30000}
