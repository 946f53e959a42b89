"""What goes to an upstream, and what is handed on of its answer."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib

import orjson
import pytest
import uvloop
from tests.servers.asking import BODY, KEY, asked, model_of
from tests.servers.faulty_upstream import HELLO, completion, event, stream, whole

from prefroute.serve.runtime import Deadlines
from prefroute.serve.upstream import DONE, Upstreams
from prefroute.serve.upstream.exchange import Target, origin_of
from prefroute.serve.upstream.pool import Pool


def test_only_our_own_headers_go_upstream_and_only_the_model_is_replaced(good):
    seen = asked(model_of("good", good.base_url, query=(("api-version", "2024-10-21"),)))

    assert seen.outcomes == ["ok"]
    request = good.requests[0]
    assert request.target == "/v1/chat/completions?api-version=2024-10-21"
    assert request.body == {**BODY, "model": "up-good"}
    assert set(request.headers) == {
        *("host", "user-agent", "content-type", "accept", "accept-encoding", "authorization", "content-length"),
    }
    assert request.headers["authorization"] == f"Bearer {KEY}"


def test_a_host_that_is_not_ascii_is_named_as_its_registry_does_with_the_port_behind_it():
    model = model_of("good", "http://b\xfccher:8080/v1")

    sent = Target(model, Pool(origin_of(model), None)).request("x", b"{}", is_stream=False, request_id=None)

    assert b"\r\nhost: xn--bcher-kva:8080\r\n" in sent


def test_a_request_of_a_megabyte_arrives_whole(good):
    async def main():
        upstreams = Upstreams({"good": model_of("good", good.base_url, Deadlines())})
        body = {**BODY, "user": "é" * 500_000}
        answer = await upstreams.send(
            ["good"], "chat/completions", body, is_stream=False, attempts=[], request_id="req_1"
        )
        await upstreams.close()
        return orjson.loads(answer.body or b"")

    uvloop.run(main())

    assert good.requests[0].body["user"] == "é" * 500_000
    assert good.requests[0].headers["x-request-id"] == "req_1"


def test_upstream_headers_stay_behind(bad):
    bad.does(whole(200, completion(), "set-cookie: a=b", "openai-organization: org-1", "x-request-id: theirs"))

    seen = asked(model_of("bad", bad.base_url))

    assert seen.answer is not None
    assert seen.answer.headers == [(b"content-type", b"application/json")]


@pytest.mark.parametrize("status", [400, 404, 413, 422])
@pytest.mark.parametrize("is_stream", [False, True])
def test_a_refusal_of_the_request_itself_is_handed_on_without_our_secrets(bad, good, status, is_stream):
    said = f"No: {KEY} at 127.0.0.1:{bad.port}, nor sk-other-987654321"
    bad.does(whole(status, {"error": {"message": said, "type": "t", "param": "p", "code": "c"}}))

    seen = asked(model_of("bad", bad.base_url), model_of("good", good.base_url), is_stream=is_stream)

    assert seen.answer is not None
    assert seen.answer.body is not None
    assert seen.answer.status == status
    wanted = {"message": "No: *** at ***, nor ***", "type": "t", "param": "p", "code": "c"}
    assert json.loads(seen.answer.body) == {"error": wanted}
    assert seen.outcomes == ["upstream_refused"]
    assert good.requests == []


def test_a_refusal_with_its_fields_at_the_top_gets_the_usual_shape(bad):
    bad.does(whole(400, {"object": "error", "message": "too long", "type": "BadRequestError", "code": 400}))

    seen = asked(model_of("bad", bad.base_url))

    assert seen.answer is not None
    assert json.loads(seen.answer.body or b"")["error"]["message"] == "too long"


@pytest.mark.parametrize(
    ("path", "body", "is_valid"),
    [
        ("embeddings", {"data": [{"embedding": [0.5]}], "usage": {"prompt_tokens": 3}}, True),
        ("embeddings", {"data": []}, False),
        ("embeddings", completion(), False),
        ("completions", {"choices": [{"text": "Hi", "index": 0}]}, True),
        ("completions", completion(), False),
    ],
)
def test_each_path_wants_its_own_kind_of_answer(bad, path, body, is_valid):
    bad.does(whole(200, body))

    seen = asked(model_of("bad", bad.base_url), path=path)

    assert (seen.answer is not None) == is_valid
    if seen.answer is not None:
        assert seen.answer.body == json.dumps(body).encode()


def test_a_long_answer_with_a_picture_is_handed_on_as_it_came(bad):
    body = completion()
    body["choices"][0]["message"]["images"] = [{"image_url": {"url": "data:image/png;base64," + "iVBO" * 300_000}}]
    content = json.dumps(body).encode()
    bad.does(whole(200, content))
    bad.does(whole(200, content[:-9]))

    seen, broken = [asked(model_of("bad", bad.base_url, Deadlines())) for _ in range(2)]

    assert seen.answer is not None
    assert seen.answer.body == content
    assert (seen.answer.usage.tokens_out, seen.answer.usage.source) == (2, "upstream")
    assert broken.outcomes == ["upstream_invalid_response"]


@pytest.mark.parametrize("is_cut", [False, True])
def test_a_long_answer_of_embeddings_is_checked_at_its_edges(bad, is_cut):
    rows = [{"object": "embedding", "index": i, "embedding": [0.25] * 500} for i in range(400)]
    usage = {"prompt_tokens": 800, "prompt_tokens_details": {"cached_tokens": 0}, "total_tokens": 800}
    body = {"object": "list", "data": rows, "model": "m", "usage": usage}
    content = json.dumps(body).encode()
    bad.always(whole(200, content[:-100] if is_cut else content))

    seen = asked(model_of("bad", bad.base_url, Deadlines()), path="embeddings")

    if is_cut:
        assert seen.outcomes == ["upstream_invalid_response"]
    else:
        assert seen.answer is not None
        assert seen.answer.body == content
        assert (seen.answer.usage.tokens_in, seen.answer.usage.source) == (800, "upstream")


@pytest.mark.parametrize(
    ("usages", "expected"),
    [
        ([{"prompt_tokens": 7, "completion_tokens": 2}], (7, 2, "upstream")),
        (
            [{"prompt_tokens": 7, "completion_tokens": 1}, {"prompt_tokens": 7, "completion_tokens": 3}],
            (7, 3, "upstream"),
        ),
        ([{"prompt_tokens": 7, "completion_tokens": 0}], (7, 2, "estimate")),
        ([{"prompt_tokens": -7, "completion_tokens": "2"}], (None, 2, "estimate")),
        ([None, {}, {"prompt_tokens": True, "completion_tokens": 1.5}], (None, 2, "estimate")),
        ([], (None, 2, "estimate")),
    ],
)
def test_usage_is_what_the_upstream_says_unless_that_cannot_be_true(bad, usages, expected):
    reports = [event({}, **{"usage": usage}) for usage in usages]
    bad.does(*stream(*HELLO, *reports, DONE))

    seen = asked(model_of("bad", bad.base_url), is_stream=True)

    assert seen.answer is not None
    usage = seen.answer.usage
    assert (usage.tokens_in, usage.tokens_out, usage.source) == expected


def test_a_long_compressed_answer_leaves_turns_to_others(bad, monkeypatch):
    content = json.dumps(completion("x" * 30_000_000)).encode()
    bad.does(whole(200, gzip.compress(content, 9), "content-encoding: gzip"))
    inflated = [0]  # bytes in each turn of the event loop

    class Counting:
        def __init__(self, wbits):
            self._real = decompressobj(wbits)

        def __getattr__(self, name):
            return getattr(self._real, name)

        def decompress(self, data, max_length):
            piece = self._real.decompress(data, max_length)
            inflated[-1] += len(piece)
            return piece

    async def turn():
        while True:
            await asyncio.sleep(0)
            inflated.append(0)

    async def main():
        turning = asyncio.create_task(turn())
        upstreams = Upstreams({"bad": model_of("bad", bad.base_url, Deadlines())})
        answer = await upstreams.send(["bad"], "chat/completions", BODY, is_stream=False, attempts=[])
        await upstreams.close()
        turning.cancel()
        return answer.body

    decompressobj = zlib.decompressobj
    monkeypatch.setattr(zlib, "decompressobj", Counting)

    assert uvloop.run(main()) == content
    assert max(inflated) <= 512 * 1024  # two steps: the end of one piece that came, and the beginning of the next


def test_a_client_that_does_not_read_holds_the_upstream_back(bad):
    n_events = 4000
    big = event({"content": "x" * 4096})
    bad.does(*stream(*[big] * n_events, HELLO[3], DONE))

    async def main():
        upstreams = Upstreams({"bad": model_of("bad", bad.base_url, Deadlines())})
        answer = await upstreams.send(["bad"], "chat/completions", BODY, is_stream=True, attempts=[])
        events = answer.events()
        first = await anext(events)
        await asyncio.sleep(0.3)
        (connection,) = upstreams._targets["bad"].pool._connections
        held = connection._n_buffered
        n_bytes = len(first) + sum([len(piece) async for piece in events])
        await upstreams.close()
        return held, n_bytes

    held, n_bytes = uvloop.run(main())

    assert held <= 384 * 1024  # the mark of 64 KiB, and one read from the socket beyond it
    assert n_bytes == n_events * len(big) + len(HELLO[3]) + len(DONE)
