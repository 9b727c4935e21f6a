"""Postfix' maps of the mail server, as its image writes them, asked as Postfix asks them."""

import sqlite3
import subprocess
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[3] / "manifests/images/mail"


class Maps:
    """Queries by name, in the server's own words; answered by a database of its schema."""

    def __init__(self, folder: Path, database: sqlite3.Connection) -> None:
        script = (FOLDER / "configure.sh").read_text()
        head = script[: script.index("\nsql=")].replace("/etc/postfix/", f"{folder}/")
        subprocess.run(["bash", "-euo", "pipefail", "-c", head], check=True, timeout=20)
        self._queries = {
            each.stem: each.read_text().partition("\nquery = ")[2].strip()
            for each in folder.glob("*.cf")
        }
        self._database = database

    def ask(self, name: str, key: str) -> list[str]:
        """What one key leads to: sqlite_table(5)."""
        query = self._queries[name].replace("%s", key.replace("'", "''"))
        found = self._database.execute(query).fetchall()
        return [each for (text, *_) in found for each in str(text).split(",") if each]

    def address(self, name: str, address: str) -> list[str]:
        """The first key that leads anywhere: virtual(5), TABLE SEARCH ORDER."""
        local, _, domain = address.rpartition("@")
        keys = (address, f"{local.partition('+')[0]}@{domain}", f"@{domain}")
        return next((found for key in keys if (found := self.ask(name, key))), [])

    def access(self, name: str, address: str) -> list[str]:
        """As access(5) asks: never for `@domain`."""
        local, _, domain = address.rpartition("@")
        plain = local.partition("+")[0]
        keys = (address, f"{plain}@{domain}", domain, f"{local}@", f"{plain}@")
        return next((found for key in keys if (found := self.ask(name, key))), [])

    def goes_to(self, address: str) -> set[str]:
        """Where mail for an address ends; itself, if nothing leads on from there."""
        found = self.address("aliases", address) or [address]
        return {address}.intersection(found).union(
            *(self.goes_to(each) for each in found if each != address)
        )
