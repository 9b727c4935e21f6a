"""The same mail server three times: a fake, Postfix and Dovecot, and a Mailcow over HTTP."""

import itertools
import json
from dataclasses import replace
from typing import Any, Protocol

from drivers.containers import Containers
from drivers.fake.mail import FakeMail, FakeMailServer
from drivers.mail import ContainerMail, Mail, MailServer
from drivers.mailcow import MailcowMail
from reconcilers._images import service_image
from reconcilers._service_mail import CAPS
from tests.containers import Bench, Running, wait_until
from tests.support.mailcow import KEY, Mailcow

IMAGE = service_image("mail", source="local").reference
_serial = itertools.count()


class World(Protocol):
    """A server, and somebody who reaches into it."""

    driver: Mail
    server: MailServer
    domain: str
    """One that no other test uses."""

    def set_password(self, address: str, password: str) -> None: ...
    def remove_mailbox(self, address: str) -> None: ...
    def redirect(self, address: str, target: str) -> None: ...
    def switch_off(self, address: str) -> None: ...
    def drop_key(self, domain: str) -> None: ...
    def deliver(self, address: str) -> None: ...


class FakeWorld:
    def __init__(self) -> None:
        self.fake = FakeMail({"there": FakeMailServer()})
        self.driver: Mail = self.fake
        self.server = MailServer("there")
        self.domain = "d.test"

    @property
    def at(self) -> FakeMailServer:
        return self.fake.servers["there"]

    def set_password(self, address: str, password: str) -> None:
        self.at.mailboxes[address].password = password

    def remove_mailbox(self, address: str) -> None:
        del self.at.mailboxes[address]

    def redirect(self, address: str, target: str) -> None:
        self.at.aliases[address] = replace(self.at.aliases[address], targets=(target,))

    def switch_off(self, address: str) -> None:
        self.fake.edit_mailbox("there", address, active=False)

    def drop_key(self, domain: str) -> None:
        self.at.domains[domain].key = ""

    def deliver(self, address: str) -> None:
        self.at.mailboxes[address].mail.append("hello")


def start_server(made: Bench) -> Running:
    """Postfix and Dovecot as the platform runs them: few capabilities, none gained."""
    options = ("--volume", f"{made.volume()}:/data", "--env", "MAIL_HOST=mail.bunker.test")
    caps = tuple(f"--cap-add={cap}" for cap in CAPS)
    tmpfs = ("--tmpfs=/run:size=16m,mode=755", "--tmpfs=/tmp:size=64m")
    started = made.run(IMAGE, options=(*options, *caps, *tmpfs))
    wait_until(lambda: "daemon started" in started.logs(), of=started, timeout_s=60)
    return started


class RealWorld:
    def __init__(self, running: Running, containers: Containers) -> None:
        self.running = running
        self.driver: Mail = ContainerMail(containers)
        self.server = MailServer(running.id)
        self.domain = f"d{next(_serial)}.test"

    def _sql(self, statement: str, *values: str) -> None:
        code = "import sys,json,maildb; a=json.load(sys.stdin); maildb.connect().execute(*a)"
        self.running.exec(
            "env", "PYTHONPATH=/usr/local/lib/mail", "python3", "-c", code,
            stdin=json.dumps([statement, values]),
        )  # fmt: skip

    def set_password(self, address: str, password: str) -> None:
        hashed = self.running.exec("doveadm", "pw", "-s", "SHA512-CRYPT", "-p", password)
        self._sql("UPDATE mailbox SET password=? WHERE address=?", hashed, address)

    def remove_mailbox(self, address: str) -> None:
        self._sql("DELETE FROM mailbox WHERE address=?", address)

    def redirect(self, address: str, target: str) -> None:
        self._sql("UPDATE alias SET targets=? WHERE address=?", target, address)

    def switch_off(self, address: str) -> None:
        self._sql("UPDATE mailbox SET active=0 WHERE address=?", address)

    def drop_key(self, domain: str) -> None:
        self._sql("UPDATE domain SET dkim_key='', selector='' WHERE name=?", domain)

    def deliver(self, address: str) -> None:
        text = f"From: x@out.test\nTo: {address}\nSubject: kept\n\nhello\n"
        self.running.exec("doveadm", "save", "-u", address, "-m", "INBOX", stdin=text)


class MailcowWorld:
    def __init__(self, mailcow: Mailcow, url: str, imap: str) -> None:
        self.mailcow = mailcow
        self.driver: Mail = MailcowMail()
        self.server = MailServer(url, KEY, imap)
        self.domain = "d.test"

    def set_password(self, address: str, password: str) -> None:
        self.mailcow.passwords[address] = password

    def remove_mailbox(self, address: str) -> None:
        self.mailcow.delete_mailbox(address)

    def redirect(self, address: str, target: str) -> None:
        self._alias(address)["goto"] = target

    def switch_off(self, address: str) -> None:
        self.mailcow.mailboxes[address]["active"] = 0

    def drop_key(self, domain: str) -> None:
        del self.mailcow.keys[domain]

    def deliver(self, address: str) -> None:
        self.mailcow.mailboxes[address]["quota_used"] += 100

    def _alias(self, address: str) -> dict[str, Any]:
        return next(e for e in self.mailcow.aliases.values() if e["address"] == address)
