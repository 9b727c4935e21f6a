"""How many files and sockets this process may open: as many as it is allowed to."""

import resource


def raise_open_files() -> None:
    """Lift the soft limit to the hard one. Login shells give 1,024, and a thousand followers of
    logs need two sockets each; the hard limit is the administrator's word."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
