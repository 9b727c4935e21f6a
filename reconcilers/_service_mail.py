"""mail: Postfix and Dovecot in one container (manifests/images/mail).

Settings: `host` is the server's own name, as other servers see it and as the MX of domains; `imap`
is where the passwords of an external Mailcow are tried. What it serves is told it by the kinds
MailDomain, Mailbox and MailAlias.
"""

from typing import Final

from reconcilers._service import Facts, Health, ServiceContainer, ServiceDef

# Postfix and Dovecot start as root and drop what they can: each of their processes runs as a user
# of its own, mail is read as another, and IMAP logins happen in an empty root.
CAPS: Final = (
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "KILL",
    "NET_BIND_SERVICE",
    "SETGID",
    "SETUID",
    "SYS_CHROOT",
)


def _containers(facts: Facts) -> tuple[ServiceContainer, ...]:
    host = facts.settings.get("host")
    return (
        ServiceContainer(
            image="mail",
            env={} if host is None else {"MAIL_HOST": host},
            health=Health(587),
            tmpfs=("/run:size=16m,mode=755", "/tmp:size=64m"),  # noqa: S108  # inside its container
            keep_caps=CAPS,
            stop_timeout_s=30,
        ),
    )


SERVICE: Final = ServiceDef(_containers)
