"""What a mail server must hold, told from the specs alone: oracles of the mail kinds."""

from typing import Any

from controlplane.records import Key
from drivers.fake.mail import FakeMailServer
from resources.meta import Record
from tests.sim.snapshot import opened
from tests.support.platform import Platform


def server(platform: Platform) -> FakeMailServer:
    assert platform.mail.anywhere is not None
    return platform.mail.anywhere


def domain_name(platform: Platform, record: Any) -> str:
    """Of the MailDomain that an address is in."""
    key = Key("MailDomain", record.metadata.namespace, record.spec.domain_ref.name)
    return str(platform.get(key).obj["spec"]["domain"])


def secret_of(platform: Platform, record: Record, given: Any, suffix: str) -> dict[str, str]:
    name = given.name if given is not None else f"{record.metadata.name}-{suffix}"
    return opened(platform.get(Key("Secret", record.metadata.namespace, name)).obj)


def domain_world(platform: Platform, record: Record) -> None:
    spec: Any = getattr(record, "spec", None)
    found = server(platform).domains[spec.domain]
    assert found.spec.owner == record.metadata.uid
    assert found.spec.active == spec.enabled
    assert found.spec.selector == spec.dkim.selector
    secret = secret_of(platform, record, spec.dkim.secret_ref, "dkim")
    assert found.key == secret["private-key"], "it signs with the key of the Secret"
    zone = None if spec.zone_ref is None else spec.zone_ref.name
    sets = [
        each.obj["spec"]
        for each in platform.store.cache.list("RecordSet", record.metadata.namespace)
        if record.metadata.uid in each.owner_uids
    ]
    assert {each["zoneRef"]["name"] for each in sets} == ({zone} if zone else set())
    if zone:
        policy = next(each for each in sets if each["name"].startswith("_dmarc."))
        assert policy["records"][0].startswith(f"v=DMARC1; p={spec.dmarc.policy}")
        assert any(each["name"].startswith(f"{spec.dkim.selector}._domainkey.") for each in sets)


def mailbox_world(platform: Platform, record: Record) -> None:
    spec: Any = getattr(record, "spec", None)
    domain = domain_name(platform, record)
    found = server(platform).mailboxes[f"{spec.local_part or record.metadata.name}@{domain}"]
    assert found.spec.owner == record.metadata.uid
    assert found.spec.quota_bytes == spec.quota
    assert found.spec.active == spec.enabled
    assert found.spec.display_name == spec.display_name
    assert set(found.spec.forward) == (set(spec.forward.to) if spec.forward else set())
    assert found.spec.keep_copy or not spec.forward.keep_copy
    assert set(found.spec.aliases) == {f"{each}@{domain}" for each in spec.aliases}
    secret = secret_of(platform, record, spec.password_secret_ref, "mailbox")
    assert found.password == secret["password"], "the Secret's password opens it"


def alias_world(platform: Platform, record: Record) -> None:
    spec: Any = getattr(record, "spec", None)
    local = "" if spec.catch_all else spec.local_part or record.metadata.name
    found = server(platform).aliases[f"{local}@{domain_name(platform, record)}"]
    assert found.owner == record.metadata.uid
    assert found.active == spec.enabled
    assert set(found.targets) == set(spec.targets)
