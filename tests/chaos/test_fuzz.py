"""Bodies and streams that nobody thought of, through the whole gateway: always an answer, never a 5xx."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.servers.faulty_upstream import DONE, LAST_CHUNK, STREAM_HEAD, FaultyUpstream, Step, chunk, event
from tests.servers.gateway import CHAT, GatewayProcess, InProcess, Reply, in_process, make_key, write_config

from prefroute.journal import RIGHTS

POSTED = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/route", "/v1/feedback")
CAPABLE = "capabilities: [images, audio, files, tools, json_schema]"


@pytest.mark.slow
def test_schemathesis_finds_nothing_to_say_against_the_gateways_own_document(tmp_path, upstream):
    """Valid and invalid requests, NULs among them, made from /openapi.json; names narrowed to those that are there."""
    secret = make_key(tmp_path, rights=tuple(RIGHTS))[1]
    with GatewayProcess(write_config(tmp_path, upstream.base_url, model=CAPABLE)) as gateway:
        url = f"http://127.0.0.1:{gateway.port}"
        with urllib.request.urlopen(f"{url}/openapi.json") as answer:
            page = json.loads(answer.read())
        schemas = page["components"]["schemas"]
        for name in ("Chat", "Completion"):
            schemas[name]["properties"]["model"] = {"enum": ["auto", "big", "small", "router-auto-0.5"]}
        schemas["Embedding"]["properties"]["model"] = schemas["Feedback"]["properties"]["preferred"] = {"enum": ["big"]}
        (tmp_path / "openapi.json").write_text(json.dumps(page))
        words = ["run", tmp_path / "openapi.json", "--url", url, "--header", f"Authorization: Bearer {secret}"]
        words += ["--mode", "all", "--phases", "coverage,fuzzing", "--max-examples", "40", "--seed", "1"]
        words += ["--no-color", "--no-shrink", "--warnings", "off"]
        done = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", *map(str, words)],
            check=False,
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        statuses = [json.loads(line).get("status") for line in gateway.log.splitlines()]

    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert [status for status in statuses if status is not None and status >= 500] == []
    assert statuses.count(200) > 50  # what is valid got as far as a model
    assert len(upstream.requests) > 50


class Runner:
    """One gateway within the process that many examples go through."""

    def __init__(self, gateway: InProcess, upstream: FaultyUpstream, run: Callable[..., Any]) -> None:
        self.upstream = upstream
        self._gateway = gateway
        self._run = run

    def post(self, path: str, body: Any) -> Reply:
        reply: Reply = self._run(self._gateway.post(path, body))
        return reply


@pytest.fixture(scope="module")
def runner(tmp_path_factory) -> Iterator[Runner]:
    folder = tmp_path_factory.mktemp("gateway")
    with FaultyUpstream() as upstream, asyncio.Runner() as loop, pytest.MonkeyPatch.context() as patch:
        patch.setenv("CANARY", "sk-upstream")
        opened = in_process(folder, upstream.base_url, model=CAPABLE)
        gateway = loop.run(opened.__aenter__())
        yield Runner(gateway, upstream, loop.run)
        loop.run(opened.__aexit__(None, None, None))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
TEXT = st.text(
    st.sampled_from('ab\u2028\u2029\u0085\r\n\t é🙂"\\{}:') | st.characters(exclude_categories=["Cs"]), max_size=12
)
FIELDS = ["model", "messages", "stream", "n", "max_tokens", "tools", "tool_choice", "response_format", "stop", "user"]
FULL = {
    **CHAT,
    "messages": [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {}}],
        },
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": ""}}]},
        {"role": "tool", "tool_call_id": "1", "content": "42"},
    ],
    "tools": [{"type": "function", "function": {"name": "f"}}],
}


def spots(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something can be put in the place of something else."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(spot for key, item in inner for spot in spots(item, (*path, key)))]


@st.composite
def mutated(draw: Any) -> Any:
    """A good chat in which up to three things were added or replaced; many are good still."""
    body = json.loads(json.dumps({**FULL, "stream": draw(st.booleans())}))
    for _ in range(draw(st.integers(1, 3))):
        *parents, last = draw(st.sampled_from([spot for spot in spots(body) if spot]))
        place = body
        for key in parents:
            place = place[key]
        how = draw(st.sampled_from(["add", "reword", "reword", "replace"]))
        if how == "add" and isinstance(place, dict):
            place[draw(st.text(max_size=8) | st.sampled_from(FIELDS))] = draw(JSON)
        elif how == "reword" and isinstance(place[last], str):
            place[last] = draw(TEXT)
        elif how == "replace":
            place[last] = draw(JSON)
    return body


def is_well_formed(reply: Reply) -> bool:
    if reply.status == 200:
        return reply.is_whole
    error = reply.error
    return set(error) == {"message", "type", "param", "code"} and isinstance(error["message"], str)


def check(runner: Runner, path: str, body: Any) -> None:
    before = len(runner.upstream.requests)

    reply = runner.post(path, json.dumps(body).encode())

    assert reply.status < 500, reply.body
    assert is_well_formed(reply)
    assert "x-request-id" in reply.headers
    for request in runner.upstream.requests[before:]:  # what is sent on is what came, but for the model
        assert request.body == {**body, "model": request.body["model"]}


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(path=st.sampled_from(["/v1/chat/completions", "/v1/route"]), body=mutated())
def test_a_chat_that_was_tampered_with_gets_an_answer_or_a_refusal_of_openais_shape(runner, path, body):
    check(runner, path, body)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(path=st.sampled_from(POSTED), body=st.dictionaries(st.sampled_from(FIELDS), JSON) | JSON)
def test_any_json_gets_an_answer_or_a_refusal_of_openais_shape(runner, path, body):
    check(runner, path, body)


@settings(max_examples=200, deadline=None)
@given(path=st.sampled_from(POSTED), body=st.binary(max_size=64) | st.text(st.characters(), max_size=20))
def test_any_bytes_get_a_refusal_of_openais_shape(runner, path, body):
    reply = runner.post(path, body if isinstance(body, bytes) else body.encode("utf-8", "surrogatepass"))

    assert reply.status == 400
    assert is_well_formed(reply)


LINE_ENDS = st.sampled_from(["\n", "\r\n", "\r"])


@st.composite
def streams(draw: Any) -> tuple[list[Any], bytes]:
    """The objects of a stream, and one way to write them: line ends, comments, names, BOM, JSON as ASCII or not."""
    texts = draw(st.lists(TEXT.filter(bool), min_size=1, max_size=6))
    written = [
        event({"role": "assistant", "content": ""}),
        *(event({"content": text}) for text in texts),
        event({}, "stop"),
    ]
    objects = [json.loads(raw[6:]) for raw in written]
    end, is_ascii = draw(LINE_ENDS), draw(st.booleans())
    raw = "\ufeff" if draw(st.booleans()) else ""
    for said in objects:
        raw += "".join(
            draw(st.lists(st.sampled_from(["id: 7", "event: message", "retry: 9"]).map(lambda x: x + end), max_size=2))
        )
        raw += draw(st.sampled_from(["data:", "data: "])) + json.dumps(said, ensure_ascii=is_ascii) + end + end
    return objects, raw.encode() + f"data: [DONE]{end}{end}".encode()


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The same bytes in pieces."""
    edges = sorted({0, len(data), *(place % len(data) for place in places)})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def seen_by_a_client(body: bytes) -> list[Any]:
    """The data of events, as the standard for event streams reads them; written here a second time on purpose."""
    found, data = [], []
    for line in body.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"):
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif not line and data:
            found.append(b"\n".join(data))
            data = []
    assert data == []
    return [said if said == b"[DONE]" else json.loads(said) for said in found]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(streamed=streams(), places=st.lists(st.integers(0, 5000), max_size=12))
def test_a_stream_cut_anywhere_shows_the_client_what_the_model_said(runner, streamed, places):
    objects, raw = streamed
    steps: list[Step] = [STREAM_HEAD, *map(chunk, cut(raw, places)), LAST_CHUNK]
    runner.upstream.does(*steps)

    reply = runner.post("/v1/chat/completions", orjson.dumps({**CHAT, "stream": True}))

    assert reply.status == 200
    assert seen_by_a_client(reply.body) == [*objects, b"[DONE]"]
    assert reply.body.endswith(DONE)
