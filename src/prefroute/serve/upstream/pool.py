"""Connections to one origin: those that stand idle, and new ones.

The door is `Pool`. It must not know what the connections carry.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass

from prefroute.serve.addresses import is_forbidden
from prefroute.serve.upstream.connection import Connection

__all__ = ["Origin", "Pool"]

_MAX_IDLE_S = 60.0


@dataclass(frozen=True, slots=True)
class Origin:
    """Where connections go.

    Attributes:
        host: Name or address, without brackets.
        port: TCP port.
        is_tls: Whether TLS is spoken.
    """

    host: str
    port: int
    is_tls: bool


class Pool:
    """Keeps connections to one origin; how many are in use is the caller's to bound.

    Args:
        origin: Where to.
        tls: For an origin that speaks TLS.
    """

    def __init__(self, origin: Origin, tls: ssl.SSLContext | None) -> None:
        self._origin = origin
        self._tls = tls
        self._idle: deque[Connection] = deque()
        self._connections: set[Connection] = set()
        self._may_keep = True

    def take(self) -> Connection | None:
        """A connection that stands idle, the one used last; None where there is none that is young enough."""
        self._end_old(asyncio.get_running_loop().time())
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        return None

    async def dial(self) -> Connection:
        """A new connection.

        Raises:
            OSError: If the name is not known, nobody answers, TLS cannot be trusted, or the address is one that no
                upstream may have.
        """
        origin = self._origin
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(self._put, self._forget),
            origin.host,
            origin.port,
            ssl=self._tls if origin.is_tls else None,
            server_hostname=origin.host if origin.is_tls else None,
        )
        self._connections.add(connection)
        # what the name stands for is known only now, and could be another address at each connection
        if is_forbidden(connection.peer):
            connection.close()
            raise OSError("the address is not one that an upstream may have")
        return connection

    def close(self) -> None:
        """End every connection, in use or not."""
        self._may_keep = False
        for connection in tuple(self._connections):
            connection.close()
        self._idle.clear()

    def retire(self) -> None:
        """End idle connections, and the others when their exchange is over."""
        self._may_keep = False
        while self._idle:
            self._idle.pop().close()

    def _put(self, connection: Connection) -> None:
        if not self._may_keep:
            connection.close()
            return
        connection.idle_since = asyncio.get_running_loop().time()
        self._end_old(connection.idle_since)
        self._idle.append(connection)

    def _end_old(self, now: float) -> None:
        """What has stood for long may have been forgotten on the way without a word, and would swallow a request."""
        while self._idle and now - self._idle[0].idle_since > _MAX_IDLE_S:  # the oldest stand first
            self._idle.popleft().close()

    def _forget(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
