"""What can go wrong with an upstream, and what only looks wrong: steps for `FaultyUpstream`, by name."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import NamedTuple

from tests.servers.asking import KEY
from tests.servers.faulty_upstream import (
    CLOSE,
    DONE,
    HELLO,
    LAST_CHUNK,
    RESET,
    ROLE,
    STALL,
    STREAM_HEAD,
    Step,
    chunk,
    completion,
    event,
    stream,
    whole,
)

JSON_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
GZIPPED = gzip.compress(json.dumps(completion()).encode())
NULS = zlib.compressobj(9, wbits=31)
BOMB = b"".join(NULS.compress(bytes(1 << 20)) for _ in range(70)) + NULS.flush()

_Case = tuple[list[Step], str, int]  # steps, code, status

BOTH: dict[str, _Case] = {
    "reset before an answer": ([RESET], "upstream_unreachable", 502),
    "close before an answer": ([CLOSE], "upstream_unreachable", 502),
    "close within the header": ([b"HTTP/1.1 200 O", CLOSE], "upstream_invalid_response", 502),
    "accepts and never answers": ([STALL], "upstream_timeout", 504),
    "header byte by byte": ([b for c in "HTTP/1.1 200" for b in (c.encode(), 0.1)], "upstream_timeout", 504),
    "not HTTP": ([b"SSH-2.0-OpenSSH_9.2\r\n"], "upstream_invalid_response", 502),
    "header of 1 MB": ([b"HTTP/1.1 200 OK\r\nx: " + b"x" * 1_000_000, STALL], "upstream_invalid_response", 502),
    "line break in a header": ([b"HTTP/1.1 200 OK\r\nx\0y: 1\r\n\r\n"], "upstream_invalid_response", 502),
    "two lengths": (
        [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}"],
        "upstream_invalid_response",
        502,
    ),
    "switches protocols": (
        [b"HTTP/1.1 101 Go\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"],
        "upstream_invalid_response",
        502,
    ),
    "no content": ([b"HTTP/1.1 204 No\r\n\r\n"], "upstream_invalid_response", 502),
    "500": ([whole(500, {"error": {"message": "oops"}})], "upstream_bad_status", 502),
    "502 with HTML": ([whole(502, b"<html>", kind="text/html")], "upstream_bad_status", 502),
    "503": ([whole(503, b"")], "upstream_bad_status", 502),
    "529": ([whole(529, b"")], "upstream_bad_status", 502),
    "408": ([whole(408, b"")], "upstream_bad_status", 502),
    "409": ([whole(409, {"error": {"message": "conflict"}})], "upstream_bad_status", 502),
    "404 with HTML": ([whole(404, b"<html>", kind="text/html")], "upstream_bad_status", 502),
    "400 with a list": ([whole(400, [1])], "upstream_bad_status", 502),
    "401": ([whole(401, {"error": {"message": f"Incorrect API key: {KEY}"}})], "upstream_auth_failed", 502),
    "403": ([whole(403, b"")], "upstream_auth_failed", 502),
    "301": ([whole(301, b"", "location: http://127.0.0.1:1/v1")], "upstream_bad_status", 502),
    "302": ([whole(302, b"", "location: https://example.com/")], "upstream_bad_status", 502),
    "429": ([whole(429, {"error": {"message": "slow down"}})], "upstream_rate_limited", 429),
    "200 with HTML": ([whole(200, b"<html>hi</html>", kind="text/html")], "upstream_invalid_response", 502),
    "200 with an error": ([whole(200, {"error": {"message": "no"}})], "upstream_invalid_response", 502),
    "200 with nothing": ([whole(200, b"")], "upstream_invalid_response", 502),
    "an encoding nobody asked for": ([whole(200, b"xyz", "content-encoding: br")], "upstream_invalid_response", 502),
    "corrupt gzip": ([whole(200, b"\x1f\x8b junk", "content-encoding: gzip")], "upstream_invalid_response", 502),
    "half a gzip": ([whole(200, GZIPPED[:-9], "content-encoding: gzip")], "upstream_invalid_response", 502),
}
WHOLE: dict[str, _Case] = {
    "truncated JSON": ([whole(200, json.dumps(completion()).encode()[:-9])], "upstream_invalid_response", 502),
    "fewer bytes than promised": (
        [JSON_HEAD + b'content-length: 99\r\n\r\n{"ch', CLOSE],
        "upstream_invalid_response",
        502,
    ),
    "reset within the body": ([JSON_HEAD + b'content-length: 99\r\n\r\n{"ch', RESET], "upstream_invalid_response", 502),
    "stalls within the body": ([JSON_HEAD + b'content-length: 99\r\n\r\n{"ch', STALL], "upstream_timeout", 504),
    "no choices": ([whole(200, {"choices": []})], "upstream_invalid_response", 502),
    "choices are null": ([whole(200, {"choices": None})], "upstream_invalid_response", 502),
    "choices are text": ([whole(200, {"choices": "none"})], "upstream_invalid_response", 502),
    "choice without a message": ([whole(200, {"choices": [{"index": 0}]})], "upstream_invalid_response", 502),
    "a list": ([whole(200, [completion()])], "upstream_invalid_response", 502),
    "a stream": (stream(*HELLO), "upstream_invalid_response", 502),
    "gzip bomb": ([whole(200, BOMB, "content-encoding: gzip")], "upstream_invalid_response", 502),
}
_PINGS: list[Step] = [chunk(b": ping\n\n"), 0.1]
STREAM: dict[str, _Case] = {
    "a whole body": ([whole(200, completion())], "upstream_invalid_response", 502),
    "reset before the first event": ([STREAM_HEAD, RESET], "upstream_invalid_response", 502),
    "reset after the role": ([*stream(ROLE, ends=False), RESET], "upstream_invalid_response", 502),
    "end after the role": (stream(ROLE), "upstream_invalid_response", 502),
    "done after the role": (stream(ROLE, DONE), "upstream_invalid_response", 502),
    "silence after the role": ([*stream(ROLE, ends=False), STALL], "upstream_timeout", 504),
    "comments only": ([STREAM_HEAD, *_PINGS * 9], "upstream_timeout", 504),
    "an error first": (stream(b'data: {"error": {"message": "busy"}}\n\n', DONE), "upstream_invalid_response", 502),
    "an error after the role": (
        stream(ROLE, b'data: {"error": {}, "message": 1}\n\n', b'data: {"error": "x"}\n\n'),
        "upstream_invalid_response",
        502,
    ),
    "nothing but nonsense": (stream(b"data: {nonsense\n\n", b"data: 7\n\n"), "upstream_invalid_response", 502),
}


class Fault(NamedTuple):
    """What goes wrong before the first content.

    Attributes:
        is_stream: Whether the client asks for a stream.
        steps: What the upstream does.
        code: Of the failure.
        status: That a client sees where no other model answers.
    """

    is_stream: bool
    steps: list[Step]
    code: str
    status: int


FAULTS = {
    f"{'stream' if is_stream else 'whole'}: {name}": Fault(is_stream, *case)
    for cases, forms in ((BOTH, (False, True)), (WHOLE, (False,)), (STREAM, (True,)))
    for name, case in cases.items()
    for is_stream in forms
}

_BROKEN_OFF: dict[str, list[Step]] = {
    "reset": [*stream(*HELLO[:3], ends=False), RESET],
    "end of the connection": [*stream(*HELLO[:3], ends=False), CLOSE],
    "end without a finish_reason": stream(*HELLO[:3]),
    "done without a finish_reason": stream(*HELLO[:3], DONE),
    "silence": [*stream(*HELLO[:3], ends=False), STALL],
    "an error": stream(*HELLO[:3], b'data: {"error": {"message": "overloaded"}}\n\n', HELLO[3], DONE),
    "half an event": stream(*HELLO[:3], b'data: {"choi'),
    "broken framing": [*stream(*HELLO[:3], ends=False), b"zz\r\n"],
    "one choice of two unfinished": stream(
        *HELLO[:3], event({"content": "x"}, index=1), event({}, "stop", index=0), DONE
    ),
}
MID_STREAM = {name: [*steps[:3], 0.05, *steps[3:]] for name, steps in _BROKEN_OFF.items()}
"""The first content is on its way before the fault."""

COMPLETE: dict[str, list[Step]] = {
    "as it should be": stream(*HELLO, DONE),
    "without done": stream(*HELLO),
    "without the last chunk": [*stream(*HELLO, DONE, ends=False), CLOSE],
    "reset after the finish_reason": [*stream(*HELLO, ends=False), 0.05, RESET],
    "silence after the finish_reason": [*stream(*HELLO, ends=False), STALL],
    "one malformed event": stream(*HELLO[:2], b"data: {oops\n\n", *HELLO[2:], DONE),
    "done twice": stream(*HELLO, DONE, DONE),
    "events after done": stream(*HELLO, DONE, event({"content": "!!"})),
    "an error after done": stream(*HELLO, DONE, b'data: {"error": {"message": "x"}}\n\n'),
    "no last blank line": stream(*HELLO[:3], HELLO[3].rstrip(b"\n")),
    "until the connection ends": [STREAM_HEAD.replace(b"transfer-encoding: chunked\r\n", b""), *HELLO, DONE, CLOSE],
    "all in one chunk": stream(b"".join([*HELLO, DONE])),
    "byte by byte": stream(*[bytes([byte]) for byte in b"".join([*HELLO, DONE])]),
    "CRLF": stream(*[piece.replace(b"\n", b"\r\n") for piece in [*HELLO, DONE]]),
    "comments between": stream(b": hi\n\n", HELLO[0], b": ping\n\n", *HELLO[1:3], b": ping\n\n", HELLO[3], DONE),
    "interim answer first": [b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", *stream(*HELLO, DONE)],
    "gzipped": [
        STREAM_HEAD.replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n"),
        chunk(gzip.compress(b"".join([*HELLO, DONE]))),
        LAST_CHUNK,
    ],
}
