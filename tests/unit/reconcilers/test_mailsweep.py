"""The sweep of mail servers: whose record is gone goes, whose mail stays."""

from controlplane.records import Key
from drivers.fake.mail import FakeMailServer
from drivers.mail import AliasSpec, DomainSpec, MailboxSpec, MailServer, Password
from tests.support.platform import Platform
from tests.support.running import USER
from tests.support.virtual import in_virtual_time

GONE = "11111111-1111-4111-8111-111111111111"
CLAIM = "a namespace"


async def leave_behind(platform: Platform, endpoint: str) -> None:
    """What a record whose finalizer was taken off left on the server."""
    server = MailServer(endpoint)
    await platform.mail.ensure_domain(server, DomainSpec("gone.test", GONE, CLAIM))
    box = MailboxSpec("a@gone.test", GONE, CLAIM, 1 << 20)
    await platform.mail.ensure_mailbox(server, box, Password("a password", ""))
    await platform.mail.ensure_alias(server, AliasSpec("b@gone.test", GONE, CLAIM, ("x@y.test",)))


def there(platform: Platform) -> FakeMailServer:
    assert platform.mail.anywhere is not None
    return platform.mail.anywhere


@in_virtual_time
async def test_what_no_record_owns_is_removed_and_its_mail_kept() -> None:
    async with Platform().running() as platform:
        await platform.settle(1)
        await serve_mail(platform)
        await leave_behind(platform, "c")
        there(platform).mailboxes["a@gone.test"].mail.append("hello")
        await platform.settle(1300)
        assert set(there(platform).domains) == {"live.test"}
        assert set(there(platform).mailboxes) == {"jane@live.test"}
        assert not there(platform).aliases
        assert there(platform).kept == {(CLAIM, "a@gone.test"): ["hello"]}


@in_virtual_time
async def test_a_server_of_somebody_else_is_never_swept() -> None:
    platform = Platform()
    external = {
        "endpoint": "https://mail.example.net:443",
        "secretRef": {"name": "mailcow"},
    }
    async with platform.running():
        await platform.settle(1)
        await serve_mail(platform, external=external)
        await leave_behind(platform, "c")
        await platform.settle(1300)
        assert "gone.test" in there(platform).domains


async def serve_mail(platform: Platform, **spec: object) -> None:
    """The service, a domain and a mailbox."""
    meta = {"name": "platform"}
    obj = {"apiVersion": "v1", "kind": "Namespace", "metadata": meta}
    await platform.records.create("Namespace", obj, actor=USER)
    service = {
        "apiVersion": "bunker.cloud/v1",
        "kind": "Platform",
        "metadata": {"name": "mail", "namespace": "platform"},
        "spec": {"service": "mail", **spec},
    }
    if "external" in spec:
        meta = {"name": "mailcow", "namespace": "platform"}
        secret: dict[str, object] = {"apiVersion": "v1", "kind": "Secret", "metadata": meta}
        secret["stringData"] = {"api-key": "key"}
        await platform.records.create("Secret", secret, actor=USER)
    await platform.records.create("Platform", service, actor=USER)
    await platform.apply("MailDomain", "live", domain="live.test")
    jane = await platform.apply("Mailbox", "jane", domainRef={"name": "live"})
    await platform.settle(60)
    assert platform.ready(jane), platform.condition(jane)
    assert platform.ready(Key("MailDomain", "shop", "live"))
