"""To whom belongs what root makes in a data folder: another user may run the API from it."""

import os
from contextlib import suppress
from pathlib import Path


def give(descriptor: int, around: Path) -> None:
    """As root: to the user whose the folder around it is. That one may have no rights and write
    there, so what is given is what is open, whatever its name leads to meanwhile."""
    if os.geteuid() == 0:
        owner = around.stat()
        with suppress(OSError):  # where nothing can be given, as on some network disks
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
