"""The built-in mail server's driver: what comes of each way its container may answer."""

import json
from dataclasses import dataclass, field

import pytest

from controlplane.errors import (
    ConflictError,
    ControlPlaneError,
    DriverUnavailableError,
    RetryableError,
    TerminalError,
)
from drivers.fake.containers import FakeContainers
from drivers.fake.engine import FakeEngine
from drivers.mail import ContainerMail, DomainSpec, MailboxSpec, MailServer, OwnedThing, Password
from drivers.mail_keys import public_key
from tests.support.keys import rsa_key, short_rsa_key

SERVER = MailServer("container")
BOX = MailboxSpec("a@d.test", "o", "c", 1 << 20)


@dataclass
class Container(FakeContainers):
    """One whose commands answer as a test says."""

    engine: FakeEngine = field(default_factory=FakeEngine)
    answers: list[tuple[int, str] | ControlPlaneError] = field(default_factory=list)
    asked: list[tuple[tuple[str, ...], bytes]] = field(default_factory=list)

    async def exec_container(
        self,
        container_id: str,
        argv: tuple[str, ...],
        /,
        *,
        stdin: bytes = b"",
        timeout_s: float,
        apart: bool = False,
    ) -> tuple[int, str]:
        self.asked.append((argv, stdin))
        answer = self.answers.pop(0)
        if isinstance(answer, ControlPlaneError):
            raise answer
        return answer


def ok(result: object) -> tuple[int, str]:
    return 0, json.dumps({"ok": True, "result": result})


def no(reason: str) -> tuple[int, str]:
    return 1, json.dumps({"ok": False, "reason": reason, "message": "because"})


@pytest.mark.parametrize(
    ("answer", "error", "reason"),
    [
        pytest.param((0, ""), DriverUnavailableError, "DriverUnavailable", id="nothing"),
        pytest.param((0, "null"), DriverUnavailableError, "DriverUnavailable", id="null"),
        pytest.param((0, "[1]"), DriverUnavailableError, "DriverUnavailable", id="a list"),
        pytest.param((0, "{}"), DriverUnavailableError, "DriverUnavailable", id="an object"),
        pytest.param(
            (126, "OCI runtime exec failed"), DriverUnavailableError, "DriverUnavailable", id="exec"
        ),
        pytest.param(no("NotOurs"), RetryableError, "NotOurs", id="another's"),
        pytest.param(no("InUse"), RetryableError, "InUse", id="in use"),
        pytest.param(no("Failed"), RetryableError, "Failed", id="broken"),
        pytest.param(no("KeyInvalid"), TerminalError, "KeyInvalid", id="no key"),
        pytest.param(
            ConflictError("gone"), DriverUnavailableError, "DriverUnavailable", id="container gone"
        ),
        pytest.param(
            RetryableError("stopped", reason="WrongState"),
            DriverUnavailableError,
            "DriverUnavailable",
            id="container stopped",
        ),
        pytest.param(
            RetryableError("sleeps", reason="CommandTimedOut"),
            DriverUnavailableError,
            "DriverUnavailable",
            id="mailctl hangs",
        ),
        pytest.param(
            DriverUnavailableError("docker", "away"),
            DriverUnavailableError,
            "DriverUnavailable",
            id="engine away",
        ),
        pytest.param(
            RetryableError("too slow", reason="Retrying"), RetryableError, "Retrying", id="too slow"
        ),
    ],
)
async def test_what_an_answer_means(
    answer: tuple[int, str] | ControlPlaneError, error: type[Exception], reason: str
) -> None:
    driver = ContainerMail(Container(answers=[answer]))
    with pytest.raises(error) as caught:
        await driver.ensure_domain(SERVER, DomainSpec("d.test", "o", "c"))
    assert getattr(caught.value, "reason", "") == reason
    assert "\n" not in str(caught.value)


async def test_secrets_go_over_stdin_alone() -> None:
    container = Container(answers=[ok(None), ok(None), ok(None)])
    driver = ContainerMail(container)
    await driver.ensure_mailbox(SERVER, BOX, Password("canary-1", "v"))
    await driver.observe_mailbox(SERVER, BOX.address, Password("canary-2", "v"))
    await driver.ensure_domain(SERVER, DomainSpec("d.test", "o", "c"), dkim_key="canary-3")
    for number, (argv, stdin) in enumerate(container.asked, start=1):
        assert "canary" not in " ".join(argv)
        assert f"canary-{number}".encode() in stdin


async def test_what_is_owned_is_listed_page_by_page() -> None:
    pages = [
        [{"what": "alias", "name": "b@d.test", "owner": "1"}],
        [{"what": "domain", "name": "d.test", "owner": "2"}],
        [],
    ]
    container = Container(answers=[ok(page) for page in pages])
    found = await ContainerMail(container).list_owned(SERVER)
    assert found == (OwnedThing("alias", "b@d.test", "1"), OwnedThing("domain", "d.test", "2"))
    after = [json.loads(stdin)["after"] for _, stdin in container.asked]
    assert after == ["", "alias b@d.test", "domain d.test"]


def test_a_password_is_in_no_repr() -> None:
    assert "canary" not in repr(Password("canary", "v"))
    assert "canary" not in repr(MailServer("x", "canary"))


@pytest.mark.parametrize("text", ["", "no key", "-----BEGIN PRIVATE KEY-----\nAAAA", "\ud800"])
def test_what_is_no_key_has_no_public_part(text: str) -> None:
    assert public_key(text) == ""


@pytest.mark.parametrize(("bits", "taken"), [(512, False), (1016, False), (1024, True)])
def test_a_key_that_no_verifier_takes_has_no_public_part(bits: int, taken: bool) -> None:
    assert bool(public_key(short_rsa_key(bits))) is taken


def test_a_public_key_is_that_of_its_private_one() -> None:
    found = public_key(rsa_key())
    assert found.startswith("MII")
    assert public_key(rsa_key()) == found
