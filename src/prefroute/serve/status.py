"""What each worker of a gateway serves, in a small file of the user's own, for `prefroute reload` to read.

The doors are `StatusFile` for the worker and `live_statuses` for everybody else. The files lie in
`prefroute.settings.runtime_dir`, since the configuration's own folder is often read-only. A worker holds a lock on its
file for as long as it lives, so that a number in a file left behind by a crash is never taken for a process to send a
signal to.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from prefroute.settings import runtime_dir

__all__ = ["Status", "StatusFile", "live_statuses"]


@dataclass(frozen=True, slots=True)
class Status:
    """What a worker says of itself.

    Attributes:
        pid: Its process.
        digest: Of what it serves (`prefroute.serve.runtime.Runtime.digest`).
        n_loads: How often it has loaded the configuration again, with or without success.
        is_loading: Whether it is doing so now.
        error: Why the last time failed; None where it did not.
        needs_restart: Keys of the file that differ from what is served, and are read at a start only.
        at: When this was written, seconds since 1970, UTC.
    """

    pid: int
    digest: str
    n_loads: int
    is_loading: bool
    error: str | None
    needs_restart: tuple[str, ...]
    at: float


class StatusFile:
    """A worker's own file, named by its configuration's path and its process; whole, and locked while the worker lives.

    Args:
        config: The configuration file.

    Raises:
        OSError: From `write`, if the folder cannot be written to, or belongs to another user.
    """

    def __init__(self, config: Path) -> None:
        self.path = runtime_dir() / f"{_name(config)}.{os.getpid()}.json"
        self._held: BinaryIO | None = None

    def write(self, status: Status) -> None:
        """Put a status in the place of the one before."""
        import fcntl

        folder = self.path.parent
        folder.mkdir(mode=0o700, exist_ok=True)
        if not _is_own(folder):
            raise PermissionError(errno.EACCES, f"{str(folder)!r} belongs to another user")
        fresh = self.path.with_suffix(".new")
        file = fresh.open("wb")
        try:
            # locked before it is in place: whoever opens the path finds a whole file that is held
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(json.dumps(asdict(status)).encode())
            file.flush()
            fresh.replace(self.path)
        except OSError:
            file.close()
            fresh.unlink(missing_ok=True)
            raise
        self._release()
        self._held = file

    def close(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)
        self._release()

    def _release(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None


def live_statuses(config: Path) -> list[Status]:
    """The statuses of all workers that serve a configuration file; files of dead ones are removed."""
    folder = runtime_dir()
    if not _is_own(folder):  # somebody else may have written there which process to send a signal to
        return []
    found = [_read(path) for path in sorted(folder.glob(f"{_name(config)}.*.json"))]
    return [status for status in found if status is not None]


def _name(config: Path) -> str:
    return hashlib.sha256(os.fsencode(config.resolve())).hexdigest()[:16]


def _is_own(folder: Path) -> bool:
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


def _read(path: Path) -> Status | None:
    """The status in a file; None where nobody holds it."""
    import fcntl

    while True:
        try:
            with path.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    told = json.load(file)
                    return Status(**told | {"needs_restart": tuple(told["needs_restart"])})
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    with contextlib.suppress(OSError):  # not ours to remove: it stays, and stays unread
                        path.unlink()
                    return None
        except FileNotFoundError:
            return None
