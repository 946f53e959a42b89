"""Connections: made, kept, ended and refused."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import subprocess
import time

import pytest
import uvloop
from tests.servers.asking import BODY, ask, asked, model_of
from tests.servers.faulty_upstream import CLOSE, HELLO, RESET, STALL, FaultyUpstream, completion, stream, whole

from prefroute.journal import AttemptRow
from prefroute.serve.faults import Fault
from prefroute.serve.runtime import Deadlines
from prefroute.serve.upstream import Upstreams

JSON_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("base_url", ["http://127.0.0.1:{port}/v1", "http://no-such-host.invalid/v1"])
def test_a_model_that_cannot_be_reached_is_passed_over(good, is_stream, base_url):
    dead = model_of("dead", base_url.format(port=closed_port()), Deadlines(connect_s=2.0))

    seen = asked(dead, model_of("good", good.base_url), is_stream=is_stream)

    assert seen.outcomes == ["upstream_unreachable", "ok"]


def test_a_name_that_leads_to_a_forbidden_address_gets_no_request(bad, good, monkeypatch):
    monkeypatch.setattr("prefroute.serve.upstream.pool.is_forbidden", lambda address: address == "127.0.0.1")
    listening = bad.base_url.replace("127.0.0.1", "localhost")

    seen = asked(model_of("bad", listening))

    assert seen.fault is not None
    assert seen.fault.code == "upstream_unreachable"
    assert bad.requests == []


def test_a_connection_closed_while_idle_costs_one_request_nothing(bad):
    bad.does(whole(200, completion("one")), CLOSE)

    async def main():
        upstreams = Upstreams({"bad": model_of("bad", bad.base_url)})
        pool = upstreams._targets["bad"].pool
        first = await ask(upstreams, "bad")
        while pool._connections:
            await asyncio.sleep(0.01)
        second = await ask(upstreams, "bad")
        bad.does(RESET)  # the request arrives, and only then the connection breaks
        third = await ask(upstreams, "bad")
        await upstreams.close()
        return first, second, third

    first, second, third = uvloop.run(main())

    assert (first.text, second.text, third.text) == ("one", "Hello", "Hello")
    assert third.outcomes == ["ok"]


def test_a_connection_that_stood_idle_for_a_minute_is_not_trusted_with_a_request(bad):
    bad.does(whole(200, completion("one")), 60.0)  # it stays open, and nobody reads what comes

    async def main():
        upstreams = Upstreams({"bad": model_of("bad", bad.base_url)})
        await ask(upstreams, "bad")
        (idle,) = upstreams._targets["bad"].pool._idle
        idle.idle_since -= 61
        second = await ask(upstreams, "bad")
        await upstreams.close()
        return second.text, idle.is_open

    assert uvloop.run(main()) == ("Hello", False)


def test_closing_ends_connections_to_origins_that_a_reload_took_away_too(bad):
    bad.does(*stream(*HELLO[:2], ends=False), STALL)

    async def main():
        upstreams = Upstreams({"patient": model_of("patient", bad.base_url, Deadlines())})
        answer = await upstreams.send(["patient"], "chat/completions", BODY, is_stream=True, attempts=[])
        upstreams.replace({})
        await upstreams.close()
        with pytest.raises(Fault):
            async with asyncio.timeout(10):
                [piece async for piece in answer.events()]

    uvloop.run(main())


def test_connections_are_kept_for_the_next_request(good):
    async def main():
        upstreams = Upstreams({"good": model_of("good", good.base_url)})
        for i in range(20):
            assert (await ask(upstreams, "good", is_stream=i % 2 == 0)).text == "Hello"
            await asyncio.sleep(0.01)  # a stream's last chunk comes after its last event
        await upstreams.close()

    uvloop.run(main())

    assert good.n_connections == 1


def test_a_long_error_page_does_not_cost_the_connection(bad):
    bad.does(whole(500, b"x" * 1_000_000))
    bad.does(whole(500, b"x" * 70_000))

    async def main():
        upstreams = Upstreams({"bad": model_of("bad", bad.base_url)})
        seen = [await ask(upstreams, "bad")]
        async with asyncio.timeout(10):
            while not upstreams._targets["bad"].pool._idle:  # the rest of the shorter page is still being read
                await asyncio.sleep(0.001)
        seen += [await ask(upstreams, "bad") for _ in range(2)]
        await upstreams.close()
        return seen

    assert [s.outcomes for s in uvloop.run(main())] == [["upstream_bad_status"] * 2, ["ok"], ["ok"]]
    assert bad.n_connections == 2  # the longer one is not read to its end


@pytest.mark.parametrize("is_stream", [False, True])
def test_the_loop_of_the_standard_library_does_as_well(bad, good, is_stream):
    bad.always(RESET)

    async def main():
        upstreams = Upstreams({"bad": model_of("bad", bad.base_url), "good": model_of("good", good.base_url)})
        seen = [await ask(upstreams, "bad", "good", is_stream=is_stream) for _ in range(3)]
        await upstreams.close()
        return [s.text for s in seen]

    assert asyncio.run(main()) == ["Hello"] * 3


def test_an_answer_nobody_asked_for_is_never_taken_for_the_next(bad):
    twice = whole(200, completion("mine")) + whole(200, completion("not yours"))
    bad.does(twice)
    bad.does(whole(200, completion("late")), 0.02, whole(200, completion("not yours")))

    async def main():
        upstreams = Upstreams({"bad": model_of("bad", bad.base_url)})
        texts = []
        for _ in range(4):
            texts.append((await ask(upstreams, "bad")).text)
            await asyncio.sleep(0.05)
        await upstreams.close()
        return texts

    assert uvloop.run(main()) == ["mine", "late", "Hello", "Hello"]


def test_a_client_that_leaves_ends_the_upstream_connection_within_a_second(bad):
    bad.does(*stream(*HELLO[:2], ends=False), STALL)
    bad.does(STALL)

    async def main():
        upstreams = Upstreams({"bad": model_of("bad", bad.base_url, Deadlines())})
        attempts: list[AttemptRow] = []
        answer = await upstreams.send(["bad"], "chat/completions", BODY, is_stream=True, attempts=attempts)
        events = answer.events()
        await anext(events)
        left = [time.monotonic()]
        await answer.aclose()
        await answer.aclose()
        await events.aclose()
        while bad.left_at is None:
            await asyncio.sleep(0.01)
        took = [bad.left_at - left[0]]
        bad.left_at = None
        task = asyncio.ensure_future(ask(upstreams, "bad"))
        while len(bad.requests) < 2:
            await asyncio.sleep(0.01)
        left.append(time.monotonic())
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        while bad.left_at is None:
            await asyncio.sleep(0.01)
        took.append(bad.left_at - left[1])
        await upstreams.close()
        return took, attempts, answer.usage

    took, attempts, usage = uvloop.run(main())

    assert max(took) < 1.0
    assert [attempt.outcome for attempt in attempts] == ["abandoned"]
    assert (usage.tokens_out, usage.source) == (1, "estimate")  # "Hel" was handed on


@pytest.mark.parametrize("is_stream", [False, True])
def test_an_attempt_that_is_given_up_leaves_no_connection_behind(bad, good, is_stream):
    bad.always(STALL)

    async def main():
        upstreams = Upstreams({"bad": model_of("bad", bad.base_url), "good": model_of("good", good.base_url)})
        seen = await ask(upstreams, "bad", "good", is_stream=is_stream)
        while bad.n_open:
            await asyncio.sleep(0.01)
        n_left = len(upstreams._targets["bad"].pool._connections)
        await upstreams.close()
        return seen.outcomes, n_left

    assert uvloop.run(main()) == (["upstream_timeout", "ok"], 0)


def test_a_body_that_trickles_is_cut_off_at_the_total_deadline(bad):
    trickle = [step for byte in json.dumps(completion()).encode() for step in (bytes([byte]), 0.05)]
    bad.does(JSON_HEAD + b"content-length: 200\r\n\r\n", *trickle)

    seen = asked(model_of("bad", bad.base_url, Deadlines(total_s=0.6)))

    assert seen.fault is not None
    assert (seen.fault.status, seen.fault.message) == (504, "Model 'bad' was not done within 0.6 s.")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed one for 127.0.0.1."""
    folder = tmp_path_factory.mktemp("tls")
    made = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    named = ("-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1")
    files = ("-keyout", folder / "key.pem", "-out", folder / "cert.pem")
    subprocess.run(["openssl", *made, *named, *files], check=True, capture_output=True)
    return folder


@pytest.fixture
def tls(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    with FaultyUpstream(context) as upstream:
        yield upstream


def test_a_certificate_that_nobody_vouches_for_is_refused(tls, good):
    seen = asked(model_of("tls", tls.base_url), model_of("good", good.base_url))

    assert seen.outcomes == ["upstream_unreachable", "ok"]
    assert tls.requests == []


def test_a_certificate_for_another_host_is_refused(tls, good, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))

    elsewhere = model_of("tls", tls.base_url.replace("127.0.0.1", "localhost"))
    seen = asked(elsewhere, model_of("good", good.base_url))

    assert seen.outcomes == ["upstream_unreachable", "ok"]
    assert tls.requests == []


def test_a_trusted_certificate_is_spoken_to(tls, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))

    assert asked(model_of("tls", tls.base_url)).text == "Hello"
    assert asked(model_of("tls", tls.base_url), is_stream=True).text == "Hello"


def test_a_server_that_does_not_finish_its_handshake_is_given_up_in_time(bad, good):
    silent = bad.base_url.replace("http:", "https:")

    seen = asked(model_of("silent", silent), model_of("good", good.base_url))

    assert seen.outcomes == ["upstream_unreachable", "ok"]
    assert 0.4 <= seen.attempts[0].latency_s < 10  # a machine may be busy; without the deadline it would wait for ever
