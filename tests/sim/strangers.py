"""Do no harm: things of others beside ours, on the engine and on every server, untouched."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Final

from drivers.containers import NetworkState, VolumeState
from drivers.fake.mail import FakeDomain, FakeMailbox
from drivers.fake.s3 import FakeBucket, FakeUser
from drivers.mail import AliasSpec, DomainSpec, MailboxSpec
from drivers.powerdns import ZoneState
from drivers.s3 import BucketState
from tests.sim.stage import Stage
from tests.support.platform import Platform

PRECIOUS: Final = "precious.example"


@dataclass(slots=True)
class Strangers:
    """Things of others, which nobody may touch: on the engine and on every server."""

    container: Any
    network: NetworkState
    volume: VolumeState
    served: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def on(cls, stage: Stage) -> "Strangers":
        engine = stage.platform.engine
        container = engine.add_foreign("precious")
        network = NetworkState(engine.new_id(), "precious", None, "10.99.0.0/24")
        engine.networks[network.id] = network
        volume = engine.volumes["precious"] = VolumeState("precious", None)
        _put_strangers(stage.platform)
        return cls(container, network, volume, deepcopy(_strangers(stage.platform)))

    def untouched(self, stage: Stage) -> list[str]:
        engine = stage.platform.engine
        kept = (
            engine.containers.get(self.container.id) is not None
            and engine.containers[self.container.id].state == self.container
            and engine.networks.get(self.network.id) == self.network
            and engine.volumes.get("precious") == self.volume
        )
        now = _strangers(stage.platform)
        touched = [what for what, thing in self.served.items() if now[what] != thing]
        return [f"a stranger's {what} was touched" for what in touched] + (
            [] if kept else ["something of a stranger was touched"]
        )


def _put_strangers(platform: Platform) -> None:
    """Made by hand on the servers: they say of nobody whose they are, or of somebody else."""
    dns, mail, s3 = platform.dns.anywhere, platform.mail.anywhere, platform.s3.anywhere
    assert dns is not None
    assert mail is not None
    assert s3 is not None
    dns.zones[PRECIOUS + "."] = ZoneState(PRECIOUS + ".", "", "Native", 1, "", False, False, None)
    mail.domains[PRECIOUS] = FakeDomain(DomainSpec(PRECIOUS, "", ""))
    box = MailboxSpec(f"a@{PRECIOUS}", "", "", 2**20)
    mail.mailboxes[box.address] = FakeMailbox(box, "secret", ["a letter"])
    alias = AliasSpec(f"b@{PRECIOUS}", "", "", (box.address,))
    mail.aliases[alias.address] = alias
    s3.buckets["precious"] = FakeBucket(BucketState("precious"), ["a file"])
    s3.users["precious"] = FakeUser({"all": "{}"}, {"PRECIOUSKEY": True})


def _strangers(platform: Platform) -> dict[str, Any]:
    dns, mail, s3 = platform.dns.anywhere, platform.mail.anywhere, platform.s3.anywhere
    assert dns is not None
    assert mail is not None
    assert s3 is not None
    return {
        "zone": dns.zones.get(PRECIOUS + "."),
        "mail domain": mail.domains.get(PRECIOUS),
        "mailbox": mail.mailboxes.get(f"a@{PRECIOUS}"),
        "alias": mail.aliases.get(f"b@{PRECIOUS}"),
        "bucket": s3.buckets.get("precious"),
        "S3 user": s3.users.get("precious"),
    }
