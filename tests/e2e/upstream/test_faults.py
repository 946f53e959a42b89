"""Every fault that an upstream can have: what the client gets, alone and with a healthy model to fall back on."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import zlib

import pytest
import uvloop
from tests.servers.asking import BODY, KEY, ask, asked, model_of
from tests.servers.faulty_upstream import (
    CLOSE,
    HELLO,
    LAST_CHUNK,
    RESET,
    ROLE,
    STALL,
    STREAM_HEAD,
    USAGE,
    chunk,
    completion,
    event,
    stream,
    whole,
)

from prefroute.serve.faults import Fault
from prefroute.serve.runtime import Deadlines
from prefroute.serve.upstream import DONE, Answer, Upstreams
from prefroute.serve.upstream.connection import Connection
from prefroute.serve.upstream.exchange import Exchange

JSON_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
GZIPPED = gzip.compress(json.dumps(completion()).encode())
NULS = zlib.compressobj(9, wbits=31)
BOMB = b"".join(NULS.compress(bytes(1 << 20)) for _ in range(70)) + NULS.flush()

# name: steps, code, status
BOTH = {
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
WHOLE = {
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
STREAM = {
    "a whole body": ([whole(200, completion())], "upstream_invalid_response", 502),
    "reset before the first event": ([STREAM_HEAD, RESET], "upstream_invalid_response", 502),
    "reset after the role": ([*stream(ROLE, ends=False), RESET], "upstream_invalid_response", 502),
    "end after the role": (stream(ROLE), "upstream_invalid_response", 502),
    "done after the role": (stream(ROLE, DONE), "upstream_invalid_response", 502),
    "silence after the role": ([*stream(ROLE, ends=False), STALL], "upstream_timeout", 504),
    "comments only": ([STREAM_HEAD, *[chunk(b": ping\n\n"), 0.1] * 9], "upstream_timeout", 504),
    "an error first": (stream(b'data: {"error": {"message": "busy"}}\n\n', DONE), "upstream_invalid_response", 502),
    "an error after the role": (
        stream(ROLE, b'data: {"error": {}, "message": 1}\n\n', b'data: {"error": "x"}\n\n'),
        "upstream_invalid_response",
        502,
    ),
    "nothing but nonsense": (stream(b"data: {nonsense\n\n", b"data: 7\n\n"), "upstream_invalid_response", 502),
}
CASES = [
    pytest.param(is_stream, *case, id=f"{'stream' if is_stream else 'whole'}: {name}")
    for cases, forms in ((BOTH, (False, True)), (WHOLE, (False,)), (STREAM, (True,)))
    for name, case in cases.items()
    for is_stream in forms
]


@pytest.mark.parametrize(("is_stream", "steps", "code", "status"), CASES)
def test_a_fault_before_the_first_content_is_an_error_of_its_kind(bad, is_stream, steps, code, status):
    bad.always(*steps)

    seen = asked(model_of("bad", bad.base_url), is_stream=is_stream)

    assert seen.answer is None
    assert seen.fault is not None
    assert (seen.fault.code, seen.fault.status) == (code, status)
    assert set(seen.outcomes) == {code}
    said = seen.fault.body().decode()
    assert KEY not in said
    assert str(bad.port) not in said


@pytest.mark.parametrize(("is_stream", "steps", "code", "status"), CASES)
def test_a_fault_before_the_first_content_is_hidden_by_the_next_model(bad, good, is_stream, steps, code, status):
    bad.always(*steps)

    seen = asked(model_of("bad", bad.base_url), model_of("good", good.base_url), is_stream=is_stream)

    assert seen.fault is None
    assert seen.answer is not None
    assert (seen.answer.model, seen.text) == ("good", "Hello")
    assert seen.outcomes == [code, "ok"]
    assert len(bad.requests) == 1
    if is_stream:
        assert seen.pieces[-1] == DONE


MID_STREAM = {
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


@pytest.mark.parametrize("steps", MID_STREAM.values(), ids=MID_STREAM.keys())
def test_a_fault_after_the_first_content_is_told_inside_the_stream(bad, good, steps):
    pause = [steps[0], *steps[1:3], 0.05, *steps[3:]]  # the first content is on its way before the fault
    bad.does(*pause)

    seen = asked(model_of("bad", bad.base_url), model_of("good", good.base_url), is_stream=True)

    assert seen.fault is not None
    assert (seen.fault.status, seen.fault.code) == (200, "upstream_stream_error")
    assert seen.text.startswith("Hel")
    assert DONE not in seen.pieces
    assert seen.outcomes == ["upstream_stream_error"]
    assert good.requests == []


HELD = {name: BOTH[name][0] for name in ("reset before an answer", "accepts and never answers", "500", "429")}
HELD |= {"corrupt gzip": BOTH["corrupt gzip"][0], "silence after the role": STREAM["silence after the role"][0]}
HELD |= {f"{name}, in the middle": MID_STREAM[name] for name in ("reset", "silence", "an error", "broken framing")}
HELD["the client leaves"] = [*stream(*HELLO[:3], ends=False), STALL]
LET_GO = (Answer, Connection, Exchange)


@pytest.mark.parametrize(("name", "steps"), HELD.items(), ids=HELD)
def test_what_failed_is_let_go_without_the_garbage_collector(bad, name, steps):
    bad.always(*steps)
    client_s = 0.2 if name == "the client leaves" else 60.0

    async def one(upstreams: Upstreams) -> None:
        answer = None
        try:
            async with asyncio.timeout(client_s):
                answer = await upstreams.send(["bad"], "chat/completions", BODY, is_stream=True, attempts=[])
                async for _ in answer.events():
                    pass
        except (Fault, TimeoutError):
            pass
        finally:
            if answer is not None:
                await answer.aclose()

    def alive() -> dict[int, str]:
        return {id(each): type(each).__name__ for each in gc.get_objects() if type(each) in LET_GO}

    async def main() -> list[str]:
        before = alive()  # what other tests hold
        upstreams = Upstreams({"bad": model_of("bad", bad.base_url)})
        await one(upstreams)
        await upstreams.close()
        await asyncio.sleep(0.05)  # for connections to be told that they have ended
        return [name for number, name in alive().items() if number not in before]

    gc.collect()
    gc.disable()
    try:
        assert uvloop.run(main()) == []
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("chat/completions", {"n": 2}),
        ("chat/completions", {"n": 2.0}),
        ("completions", {"prompt": ["one", "two"]}),
        ("completions", {"prompt": [[1, 2], [3]]}),
    ],
)
def test_a_choice_that_was_asked_for_and_never_began_is_missed(bad, path, fields):
    bad.does(*stream(*HELLO[:2], ends=False), 0.05, *map(chunk, [*HELLO[2:], DONE]), LAST_CHUNK)

    seen = asked(model_of("bad", bad.base_url), is_stream=True, path=path, **fields)

    assert seen.fault is not None
    assert seen.fault.code == "upstream_stream_error"
    assert DONE not in seen.pieces


@pytest.mark.parametrize("fields", [{"n": None}, {"n": 1}, {"prompt": "one"}, {"prompt": [1, 2]}, {"prompt": []}])
def test_a_request_for_one_choice_is_answered_by_one(bad, fields):
    bad.does(*stream(*HELLO, DONE))

    assert asked(model_of("bad", bad.base_url), is_stream=True, **fields).fault is None


COMPLETE = {
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


@pytest.mark.parametrize("steps", COMPLETE.values(), ids=COMPLETE.keys())
def test_a_stream_with_its_finish_reason_is_whole_and_ends_with_done_once(bad, steps):
    bad.does(*steps)

    seen = asked(model_of("bad", bad.base_url), is_stream=True)

    assert seen.fault is None
    assert seen.plain.count(b"data: [DONE]\n\n") == 1
    assert seen.pieces[-1] is DONE
    assert seen.text == "Hello"
    assert seen.outcomes == ["ok"]


def test_events_are_handed_on_byte_for_byte(bad):
    odd = (
        "event: message\nid: 7\nretry: 10\ndata: "
        '{"choices": [{"index": 0, "delta": {"content": "a\u2028b\u0085c"}}], "x":  [1.5,\ndata:  2e3], "k": "?"}\n\n'
    ).encode()
    call = event({"tool_calls": [{"index": 1, "id": None, "function": {"arguments": '{"a'}}]})
    bad.does(*stream(ROLE, odd, call, HELLO[3], USAGE, DONE))

    seen = asked(model_of("bad", bad.base_url), is_stream=True)

    assert b"".join(seen.pieces) == ROLE + odd + call + HELLO[3] + USAGE + DONE


@pytest.mark.parametrize("is_stream", [False, True])
def test_an_answer_cut_at_any_byte_is_never_taken_for_a_whole_one(bad, is_stream):
    sent = b"".join(step for step in stream(*HELLO, DONE) if isinstance(step, bytes))
    needed = sent.index(HELLO[-1]) + len(HELLO[-1])  # the finish_reason, with the blank line after it
    if not is_stream:
        sent = whole(200, completion())
        needed = len(sent)

    async def main():
        wrong = []
        for n_bytes in range(len(sent) + 1):
            bad.does(sent[:n_bytes], CLOSE)
            upstreams = Upstreams({"bad": model_of("bad", bad.base_url, Deadlines())})
            seen = await ask(upstreams, "bad", is_stream=is_stream)
            await upstreams.close()
            if (seen.fault is None and seen.text == "Hello") != (n_bytes >= needed):
                wrong.append((n_bytes, seen.outcomes))
        return wrong

    assert uvloop.run(main()) == []
