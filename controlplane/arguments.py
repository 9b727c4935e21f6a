"""The command line of `python -m controlplane`: its words only, nothing is done here."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path


def user_name(text: str) -> str:
    """The name of somebody, as tokens and the change log have it. Kubernetes' own users, which
    begin with `system:`, are nobody's."""
    if not re.fullmatch("[A-Za-z0-9][-A-Za-z0-9._@]{0,62}", text):
        raise argparse.ArgumentTypeError(
            "write at most 63 letters, digits, '-', '.', '_' and '@', a letter or digit first"
        )
    return text


def days(text: str) -> int:
    """How long a token lasts; one that has ended already opens nothing."""
    if not re.fullmatch("[1-9][0-9]{0,4}", text):
        raise argparse.ArgumentTypeError("write a whole number of days, from 1 to 99999")
    return int(text)


def parse(argv: Sequence[str], *, about: str, roles: Sequence[str]) -> argparse.Namespace:
    """What was asked for; exits with 2 and the usage when it can't be understood."""
    parser = argparse.ArgumentParser(
        prog="python -m controlplane",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,  # `about` has a table
    )
    commands = parser.add_subparsers(dest="command", required=True)
    served = commands.add_parser("serve", help="run the control plane")
    served.add_argument("role", nargs="?", choices=("all", "api", "agent"), default="all")
    issued = commands.add_parser("kubeconfig", help="issue a token and write a kubeconfig")
    issued.add_argument("--out", type=Path, required=True, help="the file to write, 0600")
    issued.add_argument("--role", choices=roles, default="admin", help="default: admin")
    issued.add_argument(
        "--days", type=days, default=90, help="until the token expires; default: 90"
    )
    issued.add_argument("--user", type=user_name, help="who it is for; default: the role's name")
    tokens = commands.add_parser("tokens", help="tokens that were issued").add_subparsers(
        dest="action", required=True
    )
    tokens.add_parser("list", help="who has one, and until when")
    taken = tokens.add_parser("revoke", help="make one worthless at once")
    taken.add_argument("id", help="its id, as `tokens list` shows it")
    commands.add_parser(
        "migrate",
        help="start the bundled PostgreSQL; bring the database to this version's schema",
    )
    commands.add_parser("stop-store", help="stop the bundled PostgreSQL")
    audited = commands.add_parser("audit", help="the tamper-evident change log")
    audited.add_argument("action", choices=("head", "verify"))
    audited.add_argument("--against", metavar="REVISION:HASH", help="a head exported earlier")
    kept = commands.add_parser("secrets", help="where the keys of Secrets are kept")
    kept.add_argument("action", choices=("migrate",))
    kept.add_argument("--to", choices=("vault", "embedded"), required=True)
    return parser.parse_args(argv)
