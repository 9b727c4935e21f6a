"""To whom belongs what root makes in a data folder: another user may run the API from it."""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path


def give(descriptor: int, around: Path) -> None:
    """As root: to the user whose the folder around it is. That one may have no rights and write
    there, so what is given is what is open, whatever its name leads to meanwhile."""
    if os.geteuid() == 0:
        owner = around.stat()
        with suppress(OSError):  # where nothing can be given, as on some network disks
            os.fchown(descriptor, owner.st_uid, owner.st_gid)


def give_socket(name: Path, around: Path) -> None:
    """Of one that was bound to `name`, which nothing opens: what is there now, neither what a link
    leads to, nor another file under its name. Raises OSError where it is no socket of this user."""
    owner = around.stat()
    if owner.st_uid == os.geteuid():
        return
    handle = os.open(name, os.O_PATH | os.O_NOFOLLOW)
    try:
        found = os.fstat(handle)
        if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
            raise OSError(errno.ENOTSOCK, f"somebody put something else in the place of {name}")
        os.chown(f"/proc/self/fd/{handle}", owner.st_uid, owner.st_gid)
    finally:
        os.close(handle)
