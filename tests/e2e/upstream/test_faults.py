"""Every fault that an upstream can have: what the client gets, alone and with a healthy model to fall back on."""

from __future__ import annotations

import asyncio
import gc

import pytest
import uvloop
from tests.servers.asking import BODY, KEY, ask, asked, model_of
from tests.servers.faulty_upstream import (
    CLOSE,
    HELLO,
    LAST_CHUNK,
    ROLE,
    STALL,
    USAGE,
    chunk,
    completion,
    event,
    stream,
    whole,
)
from tests.servers.upstream_faults import BOTH, COMPLETE, FAULTS, MID_STREAM, STREAM

from prefroute.serve.faults import Fault
from prefroute.serve.runtime import Deadlines
from prefroute.serve.upstream import DONE, Answer, Upstreams
from prefroute.serve.upstream.connection import Connection
from prefroute.serve.upstream.exchange import Exchange


@pytest.mark.parametrize(("is_stream", "steps", "code", "status"), FAULTS.values(), ids=FAULTS)
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


@pytest.mark.parametrize(("is_stream", "steps", "code", "status"), FAULTS.values(), ids=FAULTS)
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


@pytest.mark.parametrize("steps", MID_STREAM.values(), ids=MID_STREAM.keys())
def test_a_fault_after_the_first_content_is_told_inside_the_stream(bad, good, steps):
    bad.does(*steps)

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
