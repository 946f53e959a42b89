"""One request to one model and its answer, under the model's deadlines; whatever goes wrong is a `Failure`.

The doors are `Target`, which knows how a model wants to be asked, and `Exchange`. It must not know what a body means.
"""

from __future__ import annotations

import asyncio
import ssl
import zlib
from urllib.parse import quote, urlencode, urlsplit

from prefroute import __version__
from prefroute.serve.runtime import Model
from prefroute.serve.upstream.connection import Connection, Garbled, Lost
from prefroute.serve.upstream.failures import Failure, FailureCode
from prefroute.serve.upstream.pool import Origin, Pool

__all__ = ["MAX_ANSWER_BYTES", "Exchange", "Target", "origin_of"]

MAX_ANSWER_BYTES = 64 * 1024 * 1024
_INFLATE_BYTES = 256 * 1024
_GZIP_OR_ZLIB = 47  # window bits: either format, told by its header


def origin_of(model: Model) -> Origin:
    """Where a model's connections go.

    Example:
        >>> origin_of(Model("big", "gpt-4o", "https://api.openai.com/v1", headers={}))
        Origin(host='api.openai.com', port=443, is_tls=True)
    """
    parts = urlsplit(model.base_url)
    is_tls = parts.scheme == "https"
    return Origin(parts.hostname or "", parts.port or (443 if is_tls else 80), is_tls)


class Target:
    """A model, the pool of its connections, and how its requests begin.

    Nothing of the client's own headers is in them.

    Args:
        model: Whom to ask.
        pool: To its origin.
    """

    def __init__(self, model: Model, pool: Pool) -> None:
        self.model = model
        self.pool = pool
        parts = urlsplit(model.base_url)
        host = parts.netloc
        if not host.isascii():  # the port is no part of the name
            name, colon, port = host.partition(":")
            host = name.encode("idna").decode() + colon + port
        own = "".join(f"{name}: {value}\r\n" for name, value in model.headers.items())
        self._path = quote(parts.path.rstrip("/"), safe="/%:@!$&'()*+,;=~")
        self._query = f"?{urlencode(model.query)}" if model.query else ""
        self._headers = (
            f"host: {host}\r\nuser-agent: prefroute/{__version__}\r\n"
            f"content-type: application/json\r\naccept-encoding: identity\r\n{own}"
        )

    def request(self, path: str, body: bytes, *, is_stream: bool, request_id: str | None) -> bytes:
        """The bytes of one request."""
        accept = "text/event-stream" if is_stream else "application/json"
        named = f"x-request-id: {request_id}\r\n" if request_id else ""
        head = (
            f"POST {self._path}/{path}{self._query} HTTP/1.1\r\n{self._headers}accept: {accept}\r\n{named}"
            f"content-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


class Exchange:
    """Sends one request and reads its answer.

    Args:
        target: Whom to ask.
        started: Monotonic time from which its deadlines count, seconds.
        is_stream: Whether a stream was asked for; else nothing need come before all of the answer has been written.

    Attributes:
        has_begun: Whether content has come: until then the deadline of the first token (or of a whole answer) holds,
            afterwards that of silence. Set by the caller, who knows what content is.
        status: HTTP status of the answer; None before it came.
        headers: Its headers, names in lower case.
    """

    def __init__(self, target: Target, started: float, *, is_stream: bool) -> None:
        self.has_begun = False
        self.status: int | None = None
        self.headers: dict[bytes, bytes] = {}
        self._target = target
        self._loop = asyncio.get_running_loop()
        self._deadlines = target.model.deadlines
        self._first_s = self._deadlines.first_token_s if is_stream else self._deadlines.answer_s
        self._first_until = started + self._first_s
        self._total_until = started + self._deadlines.total_s
        self._until = self._total_until
        self._connection: Connection | None = None
        self._inflate: zlib._Decompress | None = None
        self._packed = b""  # has come, and is not inflated yet
        self._n_bytes = 0
        self._is_over = False

    async def ask(self, request: bytes) -> int:
        """Send the request; the answer's status.

        A connection that stood idle may have been closed at the other end just now. If it breaks before any byte of
        an answer, the request is sent once more, on a new connection.
        """
        try:
            self._connection = self._target.pool.take() or await self._dial()
            try:
                await self._send(self._connection, request)
            except Lost as exc:
                if exc.was_answered or self._connection.is_fresh:
                    raise
                self._connection = await self._dial()
                await self._send(self._connection, request)
            self._choose_decoding()
        except BaseException as exc:
            self._give_up(exc)
            raise
        assert self.status is not None
        return self.status

    async def read(self) -> bytes:
        """What has come of the body, decoded; nothing at its end."""
        try:
            while not self._is_over:
                if self._packed:
                    await asyncio.sleep(0)  # it may be a thousand times as long as it came: others have their turn
                    if piece := self._inflated(self._packed):
                        return piece
                    continue
                assert self._connection is not None
                piece = await self._connection.read(self._next_deadline())
                if not piece:
                    self._is_over = True
                    if self._inflate is not None and not self._inflate.eof:
                        raise Garbled
                elif self._inflate is None:
                    self._count(len(piece))
                    return piece
                elif piece := self._inflated(piece):
                    return piece
        except BaseException as exc:
            self._give_up(exc)
            raise
        return b""

    def linger(self) -> None:
        """Nothing more is wanted of it; the connection is kept if the rest is short."""
        if self._connection is not None and not self._is_over:
            self._connection.linger()
        self._is_over = True

    def close(self) -> None:
        """End it, and its connection if the answer has not ended."""
        if self._connection is not None and not self._is_over:
            self._connection.close()
        self._is_over = True

    def failure(self, code: FailureCode, what: str, *, may_pass: bool = False) -> Failure:
        """A failure of this exchange, which must not go on."""
        return Failure(self._target.model.name, code, what, status=self.status, may_pass=may_pass)

    async def _dial(self) -> Connection:
        connect_s = self._deadlines.connect_s
        try:
            async with asyncio.timeout_at(min(self._loop.time() + connect_s, self._total_until)):
                return await self._target.pool.dial()
        except TimeoutError as exc:
            raise self.failure("upstream_unreachable", f"could not be reached within {connect_s:g} s.") from exc
        except ssl.SSLError as exc:
            raise self.failure("upstream_unreachable", "offers no TLS that can be trusted.") from exc
        except (OSError, UnicodeError) as exc:
            # an address that cannot be spoken to names itself in the exception, which stays out of the message
            may_pass = isinstance(exc, ConnectionError)
            raise self.failure("upstream_unreachable", "cannot be reached.", may_pass=may_pass) from exc

    async def _send(self, connection: Connection, request: bytes) -> None:
        connection.send(request)
        self.status, self.headers = await connection.head(self._next_deadline())

    def _next_deadline(self) -> float:
        step = self._loop.time() + self._deadlines.idle_s if self.has_begun else self._first_until
        self._until = min(step, self._total_until)
        return self._until

    def _choose_decoding(self) -> None:
        encoding = self.headers.get(b"content-encoding", b"identity").strip().lower()
        if encoding in (b"gzip", b"x-gzip", b"deflate"):
            self._inflate = zlib.decompressobj(_GZIP_OR_ZLIB)
        elif encoding not in (b"", b"identity"):
            raise Garbled

    def _inflated(self, packed: bytes) -> bytes:
        assert self._inflate is not None
        piece = self._inflate.decompress(packed, _INFLATE_BYTES)
        self._packed = self._inflate.unconsumed_tail
        self._count(len(piece))
        return piece

    def _count(self, n_bytes: int) -> None:
        self._n_bytes += n_bytes
        if self._n_bytes > MAX_ANSWER_BYTES:
            raise self.failure("upstream_invalid_response", f"sent more than {MAX_ANSWER_BYTES >> 20} MiB.")

    def _give_up(self, exc: BaseException) -> None:
        """End the connection; what is the model's fault is raised as a `Failure`, the rest is the caller's to raise.

        Raised here, its traceback would hold this frame, and the frame the error: for the garbage collector to find.
        """
        self.close()
        if isinstance(exc, TimeoutError):
            raise self.failure("upstream_timeout", self._lateness()) from exc
        if isinstance(exc, Lost):
            if exc.was_answered:
                raise self.failure("upstream_invalid_response", "broke its answer off.") from exc
            raise self.failure("upstream_unreachable", "broke the connection off.") from exc
        if isinstance(exc, (Garbled, zlib.error)):
            raise self.failure("upstream_invalid_response", "sent what cannot be read as HTTP.") from exc

    def _lateness(self) -> str:
        deadlines = self._deadlines
        if self._until == self._total_until:  # timers may fire a little early, so the clock does not tell
            return f"was not done within {deadlines.total_s:g} s."
        if self.has_begun:
            return f"fell silent for {deadlines.idle_s:g} s."
        return f"sent no content within {self._first_s:g} s."
