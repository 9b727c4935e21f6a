"""Mail through the API: real Postfix and Dovecot, real SMTP and IMAP, DNS that says so."""

import json
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import yaml
from dns import message, query, rdatatype

from tests.e2e.cloud import ROOT, Cloud, Json, condition, eventually
from tests.e2e.conftest import MakeCloud, make_namespace
from tests.e2e.mailing import Login, signature_of, verifies

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(300)]
A, B = "acme", "rival"
HEALED_S = 30
"""Some resyncs of the installation under test, which are 4 s apart."""


def record(kind: str, name: str, namespace: str = A, **spec: Any) -> Json:
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": "bunker.cloud/v1", "kind": kind, "metadata": meta, "spec": spec}


def mailbox(name: str, namespace: str = A, **spec: Any) -> Json:
    return record("Mailbox", name, namespace, **{"domainRef": {"name": "main"}, **spec})


def alias(name: str, namespace: str = A, **spec: Any) -> Json:
    return record("MailAlias", name, namespace, **{"domainRef": {"name": "main"}, **spec})


@pytest.fixture(scope="module")
def mail(make_cloud: MakeCloud) -> Iterator[Cloud]:
    """A cloud that serves mail and names, and two tenants with a domain each."""
    with make_cloud(CP_RESYNC_S="4") as cloud:
        for each in ("platform", A, B):
            make_namespace(cloud, each)
        service = yaml.safe_load((ROOT / "manifests/platform/mail.yaml").read_text())
        service["spec"] |= {"resources": {"cpu": "300m", "memory": "256Mi"}, "storage": "256Mi"}
        service["spec"]["settings"] = {"host": "mx.bunker.test"}
        names = yaml.safe_load((ROOT / "manifests/platform/dns.yaml").read_text())
        cloud.apply(service, names)
        zone = record("Zone", "main", domain="acme.test")
        own = record("MailDomain", "main", domain="acme.test", zoneRef={"name": "main"})
        cloud.apply(zone, own, record("MailDomain", "main", B, domain="rival.test"))
        cloud.apply(mailbox("alice"), mailbox("bob"), mailbox("eve", B))
        cloud.wait_ready("platform", "mail", "platform", within_s=120)
        for name, namespace in (("alice", A), ("bob", A), ("eve", B)):
            cloud.wait_ready("mailbox", name, namespace, within_s=120)
        yield cloud


def host(cloud: Cloud, service: str = "mail", port: str = "submission") -> str:
    found = cloud.get("platform", service, "platform")
    assert found is not None
    return str(found["status"]["endpoints"][port]).split(":")[0]


def login(cloud: Cloud, name: str, namespace: str = A) -> Login:
    """As the Secret says; the host reaches the server by its address."""
    secret = cloud.secret(f"{name}-mailbox", namespace)
    return Login(host(cloud), secret["username"], secret["password"])


def arrives(who: Login, subject: str) -> bytes:
    """The message with that subject, once it is there."""
    return eventually(
        lambda: next((raw for raw in who.messages() if f"Subject: {subject}".encode() in raw), b""),
        within_s=20,
        what=f"'{subject}' arrives at {who.user}",
    )


def text_of(cloud: Cloud, name: str) -> list[str]:
    """TXT answers, each put together from its strings."""
    reply = query.tcp(message.make_query(name, "TXT"), host(cloud, "dns", "dns"), timeout=5)
    return [
        b"".join(each.strings).decode()
        for rrset in reply.answer
        if rrset.rdtype == rdatatype.TXT
        for each in rrset
    ]


def behind_our_back(cloud: Cloud, statement: str) -> None:
    """Straight into the server's database."""
    code = f"import maildb; maildb.connect().execute({statement!r})"
    with cloud.engine() as engine:
        (container,) = cloud.containers("mail", "platform", engine=engine)
        done = container.exec_run(
            ["python3", "-c", code], environment={"PYTHONPATH": "/usr/local/lib/mail"}
        )
        assert done.exit_code == 0, done.output


def patch(cloud: Cloud, kind: str, name: str, spec: Json, namespace: str = A) -> None:
    body = json.dumps({"spec": spec})
    cloud.kubectl("patch", kind, name, "-n", namespace, "--type=merge", "-p", body)
    cloud.wait_ready(kind, name, namespace)


# --- mail goes and comes ---


def test_what_is_sent_arrives_signed_with_the_key_that_dns_publishes(mail: Cloud) -> None:
    alice, eve = login(mail, "alice"), login(mail, "eve", B)
    assert alice.send(eve.user, "signed") == "sent"
    raw = arrives(eve, "signed")
    tags = signature_of(raw)
    assert (tags["d"], tags["s"]) == ("acme.test", "bunker")
    (published,) = eventually(
        lambda: text_of(mail, "bunker._domainkey.acme.test"), within_s=30, what="DKIM in DNS"
    )
    assert verifies(raw, published)
    assert not verifies(raw.replace(b"Hello", b"Hullo"), published)
    assert not verifies(raw.replace(b"Subject: signed", b"Subject: forged"), published)


def test_dns_says_where_mail_goes_and_who_may_send(mail: Cloud) -> None:
    assert text_of(mail, "acme.test") == ["v=spf1 mx -all"]
    assert text_of(mail, "_dmarc.acme.test") == ["v=DMARC1; p=quarantine"]
    reply = query.udp(message.make_query("acme.test", "MX"), host(mail, "dns", "dns"), timeout=5)
    assert [each.to_text() for rrset in reply.answer for each in rrset] == ["10 mx.bunker.test."]
    found = mail.wait_ready("maildomain", "main", A)
    assert condition(found, "Published")["status"] == "True"


def test_forwarding_aliases_and_catch_all(mail: Cloud) -> None:
    alice, bob, eve = login(mail, "alice"), login(mail, "bob"), login(mail, "eve", B)
    mail.apply(
        mailbox("keeps", forward={"to": [bob.user]}),
        mailbox("passes", forward={"to": [bob.user], "keepCopy": False}),
        mailbox("named", aliases=["other.name"]),
        alias("team", targets=[bob.user, eve.user]),
        alias("everything", catchAll=True, targets=[bob.user]),
    )
    for name in ("keeps", "passes", "named"):
        mail.wait_ready("mailbox", name, A)
    for name in ("team", "everything"):
        mail.wait_ready("mailalias", name, A)
    for to in ("keeps", "passes", "other.name", "team", "nobody.here"):
        assert alice.send(f"{to}@acme.test", f"to {to}") == "sent"
    for subject in ("to keeps", "to passes", "to team", "to nobody.here"):
        arrives(bob, subject)
    arrives(eve, "to team")
    arrives(login(mail, "keeps"), "to keeps")
    arrives(login(mail, "named"), "to other.name")
    assert login(mail, "passes").subjects() == []
    assert login(mail, "named").send(bob.user, "as", sender="other.name@acme.test") == "sent"
    mail.kubectl("delete", "mailalias", "everything", "team", "-n", A, "--timeout=60s")
    assert "5.1.1" in alice.send("nobody.here@acme.test", "gone")


def test_quota_and_disabling(mail: Cloud) -> None:
    alice = login(mail, "alice")
    mail.apply(mailbox("small", quota="1Mi"))
    mail.wait_ready("mailbox", "small", A)
    small = login(mail, "small")
    assert "5.2.3" in alice.send(small.user, "too big", size=2 << 20)
    patch(mail, "mailbox", "small", {"quota": "4Mi"})
    assert alice.send(small.user, "fits now", size=2 << 20) == "sent"
    arrives(small, "fits now")
    found = mail.get("mailbox", "small", A)
    assert found is not None
    patch(mail, "mailbox", "small", {"enabled": False})
    assert not small.opens()
    assert "5.2.1" in alice.send(small.user, "to nobody")
    patch(mail, "mailbox", "small", {"enabled": True})
    assert small.opens()


def test_a_disabled_domain_takes_and_sends_nothing(mail: Cloud) -> None:
    alice, off = login(mail, "alice"), {"domainRef": {"name": "off"}}
    mail.apply(record("MailDomain", "off", domain="off.test"))
    mail.apply(alias("info", A, targets=[alice.user], **off))
    mail.wait_ready("mailalias", "info", A)
    for enabled, taken, sent in ((True, "sent", "sent"), (False, "5.2.1", "5.7.1")):
        patch(mail, "maildomain", "off", {"enabled": enabled})
        assert taken in alice.send("info@off.test", "taken")
        assert sent in alice.send(alice.user, "envelope", sender="info@off.test")
        assert sent in alice.send(alice.user, "header", header="info@off.test")
    mail.kubectl("delete", "mailalias/info", "maildomain/off", "-n", A, "--timeout=60s")


# --- nobody is somebody else ---


_FROM_A_TENANT: str = """
import json, smtplib, sys
def attempt(sender, to, header):
    try:
        with smtplib.SMTP("mail", 25, timeout=20) as server:
            server.ehlo("tenant.test")
            text = f"From: {header}\\r\\nTo: {to}\\r\\nSubject: tenant\\r\\n\\r\\nhello\\r\\n"
            server.sendmail(sender, [to], text)
        return "sent"
    except smtplib.SMTPRecipientsRefused as exc:
        return str(next(iter(exc.recipients.values())))
    except smtplib.SMTPException as exc:
        return str(exc)
print(json.dumps([attempt(*each) for each in json.loads(sys.argv[1])]))
"""


def from_tenant(cloud: Cloud, namespace: str, *attempts: tuple[str, str, str]) -> list[str]:
    """(envelope sender, recipient, From) each over port 25, from a container in its network."""
    found = cloud.get("namespace", namespace)
    assert found is not None
    network = f"namespace-{namespace}-{found['metadata']['uid'][:8]}"
    with cloud.engine() as engine:
        out = engine.containers.run(
            "bunker.local/demo:1",
            ["python3", "-c", _FROM_A_TENANT, json.dumps(attempts)],
            network=network,
            remove=True,
        )
    answers: list[str] = json.loads(out)
    return answers


def test_a_tenants_network_gives_no_rights(mail: Cloud) -> None:
    relay, envelope, header, own, wanted = from_tenant(
        mail,
        B,
        ("x@out.test", "y@elsewhere.test", "x@out.test"),
        ("alice@acme.test", "eve@rival.test", "alice@acme.test"),
        ("x@out.test", "eve@rival.test", "Alice <alice@acme.test>"),
        ("eve@rival.test", "alice@acme.test", "eve@rival.test"),
        ("x@out.test", "alice@acme.test", "x@out.test"),
    )
    assert "5.7.1" in relay, "no open relay"
    assert "5.7.1" in envelope, "nobody else's envelope"
    assert "5.7.1" in header, "nobody else's From"
    assert "5.7.1" in own, "not even one's own without a login"
    assert wanted == "sent", "mail from outside to an address served here"


def test_a_login_is_for_ones_own_addresses(mail: Cloud) -> None:
    eve = login(mail, "eve", B)
    assert "5.7.1" in eve.send(eve.user, "envelope", sender="alice@acme.test")
    assert "5.7.1" in eve.send(eve.user, "header", header="alice@acme.test")
    assert "5.7.1" in eve.send(eve.user, "both", header="eve@rival.test, alice@acme.test")
    assert "5.7.1" in eve.send(eve.user, "elsewhere", sender="eve@elsewhere.test")
    assert "5.7.8" in Login(eve.host, "alice@acme.test", eve.password).send(eve.user, "as alice")
    assert eve.send(eve.user, "myself", header="The Boss <eve@rival.test>") == "sent"


# --- it is as recorded, whatever happens ---


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("UPDATE mailbox SET password='x' WHERE address LIKE 'bob@%'", id="password"),
        pytest.param("DELETE FROM mailbox WHERE address LIKE 'bob@%'", id="removed"),
        pytest.param("UPDATE mailbox SET active=0 WHERE address LIKE 'bob@%'", id="disabled"),
        pytest.param("UPDATE domain SET active=0 WHERE name='acme.test'", id="domain disabled"),
    ],
)
def test_drift_of_a_mailbox_is_healed(mail: Cloud, statement: str) -> None:
    bob = login(mail, "bob")
    assert bob.opens()
    before = len(bob.messages())
    behind_our_back(mail, statement)
    assert not bob.opens()
    eventually(bob.opens, within_s=HEALED_S, what="the mailbox is healed")
    assert len(bob.messages()) == before


def test_an_edited_alias_and_a_lost_key_are_healed(mail: Cloud) -> None:
    alice, bob, eve = login(mail, "alice"), login(mail, "bob"), login(mail, "eve", B)
    mail.apply(alias("support", targets=[bob.user]))
    mail.wait_ready("mailalias", "support", A)
    behind_our_back(mail, f"UPDATE alias SET targets='{eve.user}' WHERE address LIKE 'support@%'")
    behind_our_back(mail, "UPDATE domain SET dkim_key='' WHERE name='acme.test'")
    time.sleep(10)  # two resyncs; what is healed can be seen only by sending
    assert alice.send("support@acme.test", "healed") == "sent"
    raw = arrives(bob, "healed")
    assert signature_of(raw)["d"] == "acme.test"
    assert "healed" not in eve.subjects()


def test_the_server_is_killed_and_removed_and_nothing_is_lost(mail: Cloud) -> None:
    bob = login(mail, "bob")
    before = bob.subjects()
    with mail.engine() as engine:
        (container,) = mail.containers("mail", "platform", engine=engine)
        container.remove(force=True)
    eventually(
        lambda: mail.is_ready("platform", "mail", "platform"), within_s=60, what="it serves again"
    )
    mail.wait_ready("mailbox", "bob", A, within_s=60)
    again = login(mail, "bob")
    assert eventually(again.opens, within_s=30, what="bob logs in again")
    assert again.subjects() == before


# --- passwords ---


def test_a_password_is_rotated_by_its_secret(mail: Cloud) -> None:
    mail.apply(mailbox("rotates"))
    mail.wait_ready("mailbox", "rotates", A)
    old = login(mail, "rotates")
    body = json.dumps({"stringData": {"password": "chosen by hand 1"}})
    mail.kubectl("patch", "secret", "rotates-mailbox", "-n", A, "--type=merge", "-p", body)
    chosen = Login(old.host, old.user, "chosen by hand 1")
    eventually(chosen.opens, within_s=HEALED_S, what="the new password opens")
    assert not old.opens()
    mail.kubectl("delete", "secret", "rotates-mailbox", "-n", A)
    eventually(lambda: not chosen.opens(), within_s=HEALED_S, what="it was made anew")
    mail.wait_ready("mailbox", "rotates", A)
    assert login(mail, "rotates").opens()


def test_no_password_is_in_inspect_records_or_logs(mail: Cloud) -> None:
    secret = mail.secret("alice-mailbox", A)["password"]
    key = mail.secret("main-dkim", A)["private-key"].splitlines()[3]
    with mail.engine() as engine:
        (container,) = mail.containers("mail", "platform", engine=engine)
        told = json.dumps(container.attrs) + container.logs().decode(errors="replace")
    told += mail.kubectl("get", "mailboxes,maildomains,events", "-A", "-o", "json")
    told += mail.log.read_text(errors="replace")
    assert secret not in told
    assert key not in told


# --- what stays, and what goes ---


def test_mail_is_kept_for_the_next_mailbox_of_the_address(mail: Cloud) -> None:
    alice = login(mail, "alice")
    mail.apply(mailbox("stays"), mailbox("goes", deletionPolicy="Delete"))
    for name in ("stays", "goes"):
        mail.wait_ready("mailbox", name, A)
        assert alice.send(f"{name}@acme.test", "before") == "sent"
        arrives(login(mail, name), "before")
        mail.kubectl("delete", "mailbox", name, "-n", A, "--timeout=60s")
        assert "5.1.1" in alice.send(f"{name}@acme.test", "between")
        mail.apply(mailbox(name))
        mail.wait_ready("mailbox", name, A)
    assert login(mail, "stays").subjects() == ["before"]
    assert login(mail, "goes").subjects() == []


def test_one_domain_has_one_tenant_and_goes_on_to_the_next_without_its_mail(mail: Cloud) -> None:
    mail.apply(record("MailDomain", "both", A, domain="both.test"))
    mail.wait_ready("maildomain", "both", A)
    mail.apply(record("MailDomain", "both", B, domain="both.test"))
    mail.apply(record("MailDomain", "below", B, domain="sub.both.test"))
    box = {"domainRef": {"name": "both"}}
    mail.apply(record("Mailbox", "info", A, **box))
    mail.wait_ready("mailbox", "info", A)
    assert login(mail, "alice").send("info@both.test", "private") == "sent"
    arrives(login(mail, "info"), "private")
    for name in ("both", "below"):
        found = eventually(partial(_refused, mail, name), within_s=20, what=f"'{name}' is refused")
        assert A not in found["message"]
        assert "another namespace" in found["message"]
    mail.kubectl("delete", "maildomain", "both", "-n", A, "--wait=false")
    held = eventually(
        lambda: _reason(mail, "InUse"), within_s=20, what="the domain waits for its mailbox"
    )
    assert "Mailbox 'info'" in held["message"]
    mail.kubectl("delete", "mailbox", "info", "-n", A, "--timeout=60s")
    mail.wait_gone("maildomain", "both", A)
    mail.wait_ready("maildomain", "both", B)
    mail.apply(record("Mailbox", "info", B, **box))
    mail.wait_ready("mailbox", "info", B)
    assert login(mail, "info", B).subjects() == []
    mail.kubectl("delete", "mailbox", "info", "-n", B, "--timeout=60s")
    mail.kubectl("delete", "maildomain", "both", "below", "-n", B, "--timeout=60s")


def _refused(cloud: Cloud, name: str) -> Json:
    found = cloud.get("maildomain", name, B) or {}
    admitted = condition(found, "Admitted")
    return admitted if admitted.get("reason") == "NameTaken" else {}


def _reason(cloud: Cloud, reason: str) -> Json:
    found = condition(cloud.get("maildomain", "both", A) or {}, "Ready")
    return found if found.get("reason") == reason else {}


def test_the_examples_work(mail: Cloud) -> None:
    make_namespace(mail, "examples")
    for kind in ("maildomain", "mailbox", "mailalias"):
        body = yaml.safe_load((ROOT / f"manifests/kinds/{kind}.yaml").read_text())
        body["metadata"]["namespace"] = "examples"
        mail.apply(body)
    for kind, name in (("maildomain", "shop"), ("mailbox", "jane"), ("mailalias", "info")):
        mail.wait_ready(kind, name, "examples")
    table = mail.kubectl("get", "mailboxes", "-n", "examples")
    assert "jane@shop.example.org" in table
    mail.kubectl("delete", "namespace", "examples", "--timeout=80s")
