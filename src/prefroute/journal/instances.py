"""Which processes serve, and the end of what a dead one left unfinished.

The door is `Roll`. Each process writes a counter that goes up while it lives. A process whose counter stands still for
`DEAD_S` of the observer's own monotonic clock is dead, so that no two clocks are ever compared; on the observer's own
host, one whose process id is gone is dead at once. Its unfinished requests become `interrupted`. One that was only
slow corrects that when its requests end (see `statements`).
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from pathlib import Path

from sqlalchemy import Connection, delete, insert, select, update

from prefroute.journal.tables import instances, requests

__all__ = ["BEAT_S", "DEAD_S", "INTERRUPTED", "Roll"]

BEAT_S = 5.0
DEAD_S = 30.0
INTERRUPTED = "interrupted"
"""The `error` of a request whose process died; its `status` stays NULL, since nobody knows what the client saw."""


class Roll:
    """One process' view of all of them.

    Attributes:
        instance: Id of this process.
    """

    def __init__(self) -> None:
        self.instance = secrets.token_hex(8)
        self._host = _host() or f"{socket.gethostname()} {self.instance}"
        self._beats = 0
        self._seen: dict[str, tuple[int, float]] = {}  # instance -> its counter, and when that was new

    def beat(self, connection: Connection) -> None:
        """Say that this process lives, and bury those that do not."""
        self._beats += 1
        own = instances.c.instance == self.instance
        if connection.execute(update(instances).where(own).values(beats=self._beats)).rowcount == 0:
            values = {"instance": self.instance, "host": self._host, "pid": os.getpid(), "beats": self._beats}
            connection.execute(insert(instances).values(values))
        now = time.monotonic()
        for other in connection.execute(select(instances).where(~own)).all():
            beats, since = self._seen.get(other.instance, (-1, now))
            if other.beats != beats:
                self._seen[other.instance] = (other.beats, since := now)
            if now - since >= DEAD_S or (other.host == self._host and not _is_alive(other.pid)):
                self._bury(connection, other.instance)

    def leave(self, connection: Connection) -> None:
        """This process ends: whatever it has not finished it never will."""
        self._bury(connection, self.instance)

    def _bury(self, connection: Connection, instance: str) -> None:
        self._seen.pop(instance, None)
        connection.execute(
            update(requests).where(requests.c.running_in == instance).values(error=INTERRUPTED, running_in=None)
        )
        connection.execute(delete(instances).where(instances.c.instance == instance))


def _host() -> str | None:
    """Where process ids are the observer's own: this boot of this machine, and within it this container.

    Hosts and containers may share a name, and the ids in them, beginning with 1. None where there is no telling, as
    beyond Linux: then the counter alone says who lives.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{socket.gethostname()} {boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None


def _is_alive(pid: int) -> bool:
    """Whether a process of this host has the id: another, or this one, which may have opened two journals."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
