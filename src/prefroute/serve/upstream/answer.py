"""What a model answered: a whole body, or a stream that is handed on as it comes.

The door is `Answer`, made by `Upstreams.send` when the first content is there. It must not know how it was chosen.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

from prefroute.serve.faults import Fault
from prefroute.serve.upstream.events import DONE, EventReader
from prefroute.serve.upstream.exchange import Exchange
from prefroute.serve.upstream.failures import Failure
from prefroute.serve.upstream.usage import Usage

__all__ = ["Answer", "OnEnd", "Stream"]

OnEnd = Callable[[str, Failure | None], None]
"""Called once with how an attempt ended, "ok" or a code, and with the failure if it was the model's fault."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream whose beginning has been read.

    Attributes:
        exchange: Where more comes from.
        reader: Has read what has come.
        first: Whole events that have come, the first content among them.
        on_end: Told how it ends.
    """

    exchange: Exchange
    reader: EventReader
    first: bytes
    on_end: OnEnd


class Answer:
    """The first valid bytes of an answer are there.

    Args:
        model: Name in the configuration of the model that answers.
        status: HTTP status for the client: 200, or 400, 404, 413 or 422 where the model refused the request itself.
        body: The whole body; None where it is streamed. A refusal is never streamed.
        usage: Tokens of a whole body.
        stream: Where it is streamed.

    Attributes:
        model: As given.
        status: As given.
        body: As given.
    """

    def __init__(
        self,
        model: str,
        status: int,
        body: bytes | None = None,
        usage: Usage | None = None,
        stream: Stream | None = None,
    ) -> None:
        self.model = model
        self.status = status
        self.body = body
        self._usage = usage
        self._stream = stream
        self._has_ended = stream is None

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Headers for the client; the upstream's own stay behind."""
        kind = b"application/json" if self._stream is None else b"text/event-stream; charset=utf-8"
        return [(b"content-type", kind)]

    @property
    def usage(self) -> Usage:
        """Tokens; of a stream, those of the part that has been read."""
        if self._stream is not None:
            return self._stream.reader.usage
        return self._usage or Usage(None, 0, "estimate")

    @property
    def n_malformed(self) -> int:
        """Events that were left out of a stream since they were no JSON objects."""
        return self._stream.reader.n_malformed if self._stream is not None else 0

    async def events(self) -> AsyncGenerator[bytes, None]:
        """The stream's events as they were sent, several in one piece; the last piece is exactly `DONE`.

        When it comes, `usage` and the row of the attempt are final. To be iterated over once.

        Raises:
            Fault: With status 200, if the stream breaks, falls silent or reports an error: to be sent as an event,
                after which nothing may follow.
        """
        stream = self._stream
        assert stream is not None, "this answer is not streamed"
        yield stream.first
        try:
            while not (stream.reader.is_done or stream.reader.has_error):
                piece = await stream.exchange.read()
                if kept := stream.reader.feed(piece) if piece else stream.reader.end():
                    yield kept
                if not piece:
                    break
            self._check_end(stream)
        except Failure as failure:
            if not stream.reader.is_complete or stream.reader.has_error:
                self._end("upstream_stream_error", failure)
                message = f"{failure} The answer is not complete. Ask again."
                raise Fault(200, "upstream_stream_error", message, type_="upstream_error") from failure
            # every word is there, and only the farewell is missing
        self._end("ok", None)
        stream.exchange.linger()
        yield DONE

    async def aclose(self) -> None:
        """Nothing more is wanted. The upstream's connection ends at once if the answer has not; may be called twice."""
        if self._stream is not None and not self._has_ended:
            self._end("abandoned", None)
            self._stream.exchange.close()

    def _check_end(self, stream: Stream) -> None:
        if stream.reader.has_error:
            raise stream.exchange.failure("upstream_stream_error", "reported an error in the middle of its answer.")
        if not stream.reader.is_complete:
            raise stream.exchange.failure("upstream_stream_error", "ended its answer without a finish_reason.")

    def _end(self, outcome: str, failure: Failure | None) -> None:
        self._has_ended = True
        assert self._stream is not None
        self._stream.on_end(outcome, failure)
        if failure is not None:
            self._stream.exchange.close()
