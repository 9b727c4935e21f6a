"""The command line of `python -m controlplane`: its words only, nothing is done here."""

import argparse
from collections.abc import Sequence
from pathlib import Path


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
    issued.add_argument("--days", type=int, default=90, help="until the token expires; default: 90")
    commands.add_parser("migrate", help="bring the database to this version's schema")
    commands.add_parser("stop-store", help="stop the bundled PostgreSQL")
    audited = commands.add_parser("audit", help="the tamper-evident change log")
    audited.add_argument("action", choices=("head", "verify"))
    audited.add_argument("--against", metavar="REVISION:HASH", help="a head exported earlier")
    kept = commands.add_parser("secrets", help="where the keys of Secrets are kept")
    kept.add_argument("action", choices=("migrate",))
    kept.add_argument("--to", choices=("vault", "embedded"), required=True)
    return parser.parse_args(argv)
