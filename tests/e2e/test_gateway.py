"""The gateway over a real journal, real routing and a real upstream, called within the process."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from tests.servers.faulty_upstream import DONE, HELLO, RESET, ROLE, STALL, chunk, event, stream, whole
from tests.servers.faulty_upstream import STREAM_HEAD as HEAD
from tests.servers.gateway import CANARY, CHAT, JSON_HEADERS, InProcess, Reply, make_key, rows

from prefroute.errors import JournalError

STREAM = {**CHAT, "stream": True}


def test_an_answer_says_who_gave_it_and_leaves_a_row(serving, upstream, tmp_path):
    reply = serving(lambda gateway: gateway.post())

    assert reply.status == 200
    assert reply.json["choices"][0]["message"]["content"] == "Hello"
    assert reply.headers["x-prefroute-model"] == "big"
    assert reply.headers["x-prefroute-route"] == "auto"
    (row,) = rows(tmp_path)
    assert row["request_id"] == reply.headers["x-request-id"]
    assert (row["status"], row["error"], row["model"], row["reason"]) == (200, None, "big", "policy")
    assert (row["tokens_in"], row["tokens_out"], row["usage_source"]) == (7, 2, "upstream")
    assert row["cost_usd"] == pytest.approx((7 * 10 + 2 * 30) / 1e6)
    assert 0 < row["latency_s"] < 60
    assert rows(tmp_path, "texts") == []
    (attempt,) = rows(tmp_path, "attempts")
    assert (attempt["model"], attempt["outcome"], attempt["status"]) == ("big", "ok", 200)


def test_only_the_model_is_replaced_in_what_is_sent_on(serving, upstream):
    body = {
        **CHAT,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"x-odd": [1, 2.5, None]}}}],
        "unknown_field": {"deep": ["\u0000", "é"]},
        "seed": 7,
        "longer_than_64_bits": 10**40,
        "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "iVBO" * 300_000}}]}],
    }

    serving(lambda gateway: gateway.post(body={**body, "model": "big"}))

    assert upstream.requests[0].body == {**body, "model": "upstream-big"}


def test_headers_of_the_client_stay_here(serving, upstream):
    private = {"cookie": "c=1", "x-api-key": "k", "openai-organization": "o", "x-forwarded-for": "1.2.3.4"}

    serving(lambda gateway: gateway.post(headers={**JSON_HEADERS, **private}))

    sent = upstream.requests[0].headers
    assert not set(private) & set(sent)
    assert sent["authorization"] == f"Bearer {CANARY}"


def test_a_stream_is_passed_on_byte_for_byte_and_its_row_is_there_before_its_end(serving, upstream, tmp_path):
    upstream.does(*stream(*HELLO, DONE))
    seen: list[Any] = []

    class Watching(Reply):
        def __setattr__(self, name: str, value: Any) -> None:
            if name == "is_whole" and value:
                seen.extend(row["status"] for row in rows(tmp_path))
            super().__setattr__(name, value)

    reply = serving(lambda gateway: gateway.post(body=STREAM, reply=Watching()))

    assert reply.body == b"".join(HELLO) + DONE
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert seen == [200]
    (row,) = rows(tmp_path)
    assert row["is_stream"]
    assert 0 < row["first_token_s"] <= row["latency_s"]


def test_a_truncated_stream_ends_in_an_error_and_not_in_done(serving, upstream, tmp_path):
    upstream.does(*stream(ROLE, event({"content": "Hel"})))

    reply = serving(lambda gateway: gateway.post(body=STREAM))

    *_, last, nothing = reply.body.split(b"\n\n")
    assert nothing == b""
    assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "upstream_stream_error"
    assert b"[DONE]" not in reply.body
    assert reply.is_whole
    (row,) = rows(tmp_path)
    assert (row["status"], row["error"]) == (200, "upstream_stream_error")


def test_a_stream_that_breaks_before_its_first_word_comes_from_the_fallback(serving, upstream, tmp_path):
    upstream.does(HEAD, chunk(ROLE), RESET)
    upstream.does(*stream(*HELLO, DONE))

    reply = serving(lambda gateway: gateway.post(body=STREAM))

    assert reply.body == b"".join(HELLO) + DONE
    assert reply.headers["x-prefroute-model"] == "small"
    (row,) = rows(tmp_path)
    assert (row["chosen"], row["model"]) == ("big", "small")
    assert [attempt["model"] for attempt in rows(tmp_path, "attempts")] == ["big", "small"]


def test_when_no_model_answers_the_client_hears_so_once(serving, upstream, tmp_path):
    upstream.always(whole(500, {"error": {"message": f"key {CANARY}"}}))

    reply = serving(lambda gateway: gateway.post())

    assert reply.status == 502
    assert reply.headers["x-should-retry"] == "false"
    assert reply.error["type"] == "upstream_error"
    assert CANARY.encode() not in reply.body
    (row,) = rows(tmp_path)
    assert (row["status"], row["error"]) == (502, reply.error["code"])


def test_a_refusal_by_the_model_reaches_the_client_as_it_is(serving, upstream, tmp_path):
    refusal = {"error": {"message": "too long", "type": "invalid_request_error", "param": "messages", "code": "ctx"}}
    upstream.always(whole(400, refusal))

    reply = serving(lambda gateway: gateway.post())

    assert (reply.status, reply.json) == (400, refusal)
    (row,) = rows(tmp_path)
    assert (row["status"], row["error"], row["tokens_out"]) == (400, "upstream_refused", None)


def test_a_client_that_leaves_ends_the_upstream_within_a_second(serving, upstream, tmp_path):
    upstream.does(HEAD, chunk(ROLE), chunk(event({"content": "Hel"})), STALL)
    left: list[float] = []

    async def scenario(gateway: InProcess) -> Reply:
        leaves, reply = asyncio.Event(), Reply()
        task = asyncio.create_task(gateway.post(body=STREAM, leaves=leaves, reply=reply))
        while b"Hel" not in reply.body:
            await asyncio.sleep(0.005)
        left.append(time.monotonic())
        leaves.set()
        await task
        while upstream.left_at is None:
            await asyncio.sleep(0.005)
        return reply

    reply = serving(scenario)

    assert upstream.left_at is not None
    assert upstream.left_at - left[0] < 1
    assert not reply.is_whole
    (row,) = rows(tmp_path)
    assert (row["status"], row["error"]) == (499, "client_disconnected")
    assert row["tokens_out"] == 1
    (attempt,) = rows(tmp_path, "attempts")
    assert attempt["outcome"] == "abandoned"


def test_a_client_that_leaves_while_the_model_thinks_ends_the_upstream_too(serving, upstream, tmp_path):
    upstream.does(STALL)

    async def scenario(gateway: InProcess) -> None:
        leaves = asyncio.Event()
        task = asyncio.create_task(gateway.post(leaves=leaves))
        while not upstream.requests:
            await asyncio.sleep(0.005)
        leaves.set()
        await task
        assert gateway.gateway.state.n_in_flight == 0
        assert not gateway.gateway.state.running

    serving(scenario)

    assert rows(tmp_path)[0]["error"] == "client_disconnected"


def test_embeddings_pass_through_by_the_name_of_a_model(serving, upstream):
    answer = {"object": "list", "data": [{"embedding": [0.5]}], "usage": {"prompt_tokens": 3, "total_tokens": 3}}
    upstream.does(whole(200, answer))

    async def scenario(gateway: InProcess) -> tuple[Reply, Reply]:
        to_model = await gateway.post("/v1/embeddings", {"model": "small", "input": "hi"})
        return to_model, await gateway.post("/v1/embeddings", {"model": "auto", "input": "hi"})

    to_model, to_route = serving(scenario)

    assert to_model.json == answer
    assert upstream.requests[0].target == "/v1/embeddings"
    assert (to_route.status, to_route.error["param"]) == (400, "model")


def test_a_decision_can_be_asked_for_without_calling_a_model(serving, upstream, tmp_path):
    reply = serving(lambda gateway: gateway.post("/v1/route"))

    assert reply.json["model"] == "big"
    assert reply.json["reason"] == "policy"
    assert 0 <= reply.json["win_rate"] <= 1
    assert upstream.requests == []
    assert rows(tmp_path)[0]["endpoint"] == "route"


def test_a_threshold_in_the_name_of_the_model_is_obeyed(serving):
    async def scenario(gateway: InProcess) -> list[str]:
        names = ["router-auto-0.0", "router-length-1.0", "router-router-0.0"]  # route, kind, folder
        return [(await gateway.post("/v1/route", {**CHAT, "model": name})).json["model"] for name in names]

    assert serving(scenario) == ["big", "small", "big"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code", "param"),
    [
        ("POST", "/v1/chat/completions", b"{x}", 400, "invalid_json", None),
        ("POST", "/v1/chat/completions", b"", 400, "invalid_json", None),
        ("POST", "/v1/chat/completions", b"[]", 400, "invalid_type", None),
        ("POST", "/v1/chat/completions", b"[" * 50_000, 400, "invalid_json", None),
        ("POST", "/v1/chat/completions", b'{"model": "auto"}', 400, "missing_required_parameter", "messages"),
        ("POST", "/v1/chat/completions", {**CHAT, "model": "atuo"}, 404, "model_not_found", "model"),
        ("POST", "/v1/chat/completions", {**CHAT, "api_base": "http://x"}, 400, "invalid_value", "api_base"),
        ("POST", "/v1/chat/completions", {**CHAT, "n": 10**9}, 400, "invalid_value", "n"),
        ("POST", "/v1/nothing", b"{}", 404, "unknown_url", None),
        ("POST", "//v1/chat/completions", b"{}", 404, "unknown_url", None),
        ("GET", "/v1/chat/completions", b"", 405, "method_not_allowed", None),
        ("TRACE", "/v1/models", b"", 405, "method_not_allowed", None),
        ("GET", "/v1/models/nobody", b"", 404, "model_not_found", "model"),
        ("POST", "/v1/feedback", {"request_id": "req_1", "score": 0.5}, 404, "request_not_found", "request_id"),
        ("POST", "/v1/feedback", {"request_id": "req_1", "score": 2}, 400, "invalid_value", "score"),
        ("POST", "/v1/feedback", {"request_id": "r", "preferred": "who"}, 400, "invalid_value", "preferred"),
    ],
)
def test_every_error_has_one_shape(serving, method, path, body, status, code, param):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    reply = serving(lambda gateway: gateway.ask(method, path, [content]))

    assert (reply.status, reply.error["code"], reply.error["param"]) == (status, code, param)
    assert set(reply.error) == {"message", "type", "param", "code"}
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-request-id"].startswith("req_")
    assert ("allow" in reply.headers) == (status == 405)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json; charset=utf-16"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
def test_a_body_that_is_not_plain_json_is_refused_by_its_header(serving, headers):
    reply = serving(lambda gateway: gateway.post(headers=headers))

    assert (reply.status, reply.error["code"]) == (415, "unsupported_media_type")


def test_a_body_over_the_limit_is_refused_whether_its_length_is_said_or_not(serving):
    big = {**CHAT, "user": "x" * 20_000}

    async def scenario(gateway: InProcess) -> list[int]:
        content = json.dumps(big).encode()
        said = await gateway.post(body=big, headers={**JSON_HEADERS, "content-length": str(len(content))})
        unsaid = await gateway.ask("POST", "/v1/chat/completions", [content[:9000], content[9000:]])
        return [said.status, unsaid.status, (await gateway.post()).status]

    assert serving(scenario, server="max_body_mb: 0.01") == [413, 413, 200]


def test_a_body_that_comes_too_slowly_is_refused(serving):
    reply = serving(
        lambda gateway: gateway.ask("POST", "/v1/chat/completions", [b"{", 60.0, b"}"]), server="body_s: 0.05"
    )

    assert (reply.status, reply.error["code"]) == (408, "request_timeout")
    assert reply.headers["x-should-retry"] == "false"


def test_keys_are_asked_for_once_there_is_one(serving, tmp_path):
    _, secret = make_key(tmp_path)
    bad = [None, "", "pr-nope", secret[:-1], secret + "x", "ключ", "k" * 1_000_000, f"Bearer {secret}", "' OR 1=1 --"]

    async def scenario(gateway: InProcess) -> tuple[list[Reply], list[int], list[int]]:
        refused = [await gateway.post(key=key) for key in bad]
        paths = ("/v1/models", "/metrics", "/healthz", "/readyz", "/openapi.json")
        return refused, [(await gateway.get(path)).status for path in paths], [(await gateway.post(key=secret)).status]

    refused, open_paths, good = serving(scenario)

    assert {(reply.status, reply.body) for reply in refused} == {(401, refused[0].body)}
    assert refused[0].error["code"] == "invalid_api_key"
    assert refused[0].headers["www-authenticate"] == "Bearer"
    assert open_paths == [401, 401, 200, 200, 200]
    assert good == [200]
    assert secret not in str(rows(tmp_path))


def test_what_a_key_may_not_ask_for_it_does_not_get(serving, tmp_path):
    _, secret = make_key(tmp_path, routes=["auto"])

    async def scenario(gateway: InProcess) -> list[Reply]:
        return [
            await gateway.post(key=secret, body={**CHAT, "model": "small"}),
            await gateway.post(key=secret, body={**CHAT, "model": "router-auto-0.1"}),
            await gateway.post("/v1/route", key=secret),
            await gateway.post(key=secret),
            await gateway.get("/v1/models", key=secret),
            await gateway.post(key=secret, body={**CHAT, "model": "bug"}),
        ]

    by_model, by_threshold, decision, allowed, models, unknown = serving(scenario)

    assert [reply.status for reply in (by_model, by_threshold, decision)] == [403] * 3
    assert by_model.error["type"] == "permission_error"
    assert allowed.status == 200
    assert "x-prefroute-win-rate" not in allowed.headers
    assert [model["id"] for model in models.json["data"]] == ["auto"]
    assert (unknown.status, unknown.error["message"]) == (404, "Unknown model 'bug'. Available: auto.")


def test_a_key_with_the_right_sees_why(serving, tmp_path):
    _, secret = make_key(tmp_path, rights=["explain"])

    reply = serving(lambda gateway: gateway.post(key=secret))

    assert reply.headers["x-prefroute-reason"] == "policy"
    assert 0 <= float(reply.headers["x-prefroute-win-rate"]) <= 1


def test_a_key_over_its_rate_is_told_when_to_come_again(serving, tmp_path, upstream):
    _, secret = make_key(tmp_path, requests_per_minute=3)

    async def scenario(gateway: InProcess) -> list[Reply]:
        return [await gateway.post(key=secret) for _ in range(4)]

    replies = serving(scenario)

    assert [reply.status for reply in replies] == [200, 200, 200, 429]
    assert replies[-1].error["code"] == "rate_limit_exceeded"
    assert 1 <= int(replies[-1].headers["retry-after"]) <= 60
    assert len(upstream.requests) == 3


def test_feedback_is_taken_once_and_for_own_requests_only(serving, tmp_path):
    _, mine = make_key(tmp_path, "mine")
    _, other = make_key(tmp_path, "other")

    async def scenario(gateway: InProcess) -> list[tuple[int, str | None]]:
        request_id = (await gateway.post(key=mine)).headers["x-request-id"]
        feedback = {"request_id": request_id, "score": 0.75}
        replies = [await gateway.post("/v1/feedback", feedback, key=key) for key in (other, mine, mine)]
        return [(reply.status, reply.json.get("error", {}).get("code")) for reply in replies]

    assert serving(scenario) == [(404, "request_not_found"), (200, None), (409, "feedback_exists")]
    assert [row["score"] for row in rows(tmp_path, "feedback")] == [0.75]


def test_more_requests_than_allowed_at_once_are_told_to_come_again(serving, upstream):
    upstream.does(STALL)

    async def scenario(gateway: InProcess) -> Reply:
        leaves = asyncio.Event()
        first = asyncio.create_task(gateway.post(leaves=leaves))
        while not upstream.requests:
            await asyncio.sleep(0.005)
        second = await gateway.post()
        leaves.set()
        await first
        return second

    reply = serving(scenario, server="max_in_flight: 1")

    assert (reply.status, reply.error["code"], reply.headers["retry-after"]) == (503, "overloaded", "1")


def test_text_is_kept_nowhere_unless_wanted(serving, tmp_path, caplog):
    canary = "prompt-canary-7351"
    chat = {"model": "auto", "messages": [{"role": "user", "content": canary}]}

    async def scenario(gateway: InProcess) -> None:
        await gateway.post(body=chat)
        await gateway.post(body={**chat, "n": "x"})
        assert canary.encode() not in (await gateway.get("/metrics")).body

    serving(scenario)

    assert not [path for path in tmp_path.glob("journal.db*") if canary.encode() in path.read_bytes()]
    assert canary not in caplog.text
    serving(lambda gateway: gateway.post(body=chat), journal="store_prompts: true")
    assert [row["prompt"] for row in rows(tmp_path, "texts")] == [canary]


def test_metrics_count_requests_attempts_and_money(serving):
    async def scenario(gateway: InProcess) -> str:
        await gateway.post()
        await gateway.post(body={**CHAT, "model": "nobody-" + "x" * 50})
        return (await gateway.get("/metrics")).body.decode()

    page = serving(scenario)

    assert 'prefroute_requests_total{endpoint="chat",model="big",route="auto",status="200"} 1.0' in page
    assert 'prefroute_requests_total{endpoint="chat",model="",route="",status="404"} 1.0' in page
    assert 'prefroute_attempts_total{model="big",outcome="ok"} 1.0' in page
    assert 'prefroute_cost_usd_total{model="big"} 0.00013' in page
    assert 'prefroute_upstream_open{model="small"} 0.0' in page
    assert "nobody" not in page  # a client's own words make no series


@pytest.fixture
def broken_journal(monkeypatch):
    """Makes every row of a gateway fail to be written, as when the disk is full."""

    def breaks(gateway: InProcess) -> None:
        async def finish(row: Any) -> None:
            raise JournalError("The journal cannot be written.")

        monkeypatch.setattr(gateway.gateway.state.journal, "finish", finish)

    return breaks


def test_an_answer_that_cannot_be_recorded_is_not_given(serving, broken_journal):
    async def scenario(gateway: InProcess) -> tuple[Reply, Reply]:
        broken_journal(gateway)
        return await gateway.post(), await gateway.post(body=STREAM)

    whole, streamed = serving(scenario)

    assert (whole.status, whole.error["code"]) == (503, "log_store_unavailable")
    assert whole.headers["x-should-retry"] == "false"  # a repeat would be paid for too
    assert "retry-after" not in whole.headers
    last = streamed.body.split(b"\n\n")[-2].removeprefix(b"data: ")
    assert json.loads(last)["error"]["code"] == "log_store_unavailable"
    assert b"[DONE]" not in streamed.body


def test_a_decision_that_cannot_be_recorded_may_be_asked_for_again(serving, broken_journal):
    async def scenario(gateway: InProcess) -> Reply:
        broken_journal(gateway)
        return await gateway.post("/v1/route")

    reply = serving(scenario)

    assert (reply.status, reply.error["code"], reply.headers["retry-after"]) == (503, "log_store_unavailable", "5")
    assert "x-should-retry" not in reply.headers


def test_it_is_given_where_the_configuration_says_so(serving, broken_journal):
    async def scenario(gateway: InProcess) -> tuple[Reply, Reply]:
        broken_journal(gateway)
        return await gateway.post(), await gateway.post(body=STREAM)

    whole, streamed = serving(scenario, journal="on_failure: serve")

    assert whole.status == 200
    assert streamed.body.endswith(DONE)


def test_readyz_says_what_is_wrong(serving):
    async def scenario(gateway: InProcess) -> list[tuple[int, dict[str, Any]]]:
        state = gateway.gateway.state
        replies = [await gateway.get("/readyz")]
        state.reload_error = lambda: "gateway.yaml:3: models: secret detail"
        replies.append(await gateway.get("/readyz"))
        state.is_draining = True
        replies.append(await gateway.get("/readyz"))
        return [(reply.status, reply.json) for reply in replies]

    (ready, first), (still, second), (draining, third) = serving(scenario)

    assert (ready, still, draining) == (200, 200, 503)
    assert (first["status"], first["journal"], first["reload"], first["left_alone"]) == ("ready", "ok", "ok", 0)
    assert second["reload"] == "failed; the log says why"
    assert third["status"] == "draining"


def test_a_bug_is_an_error_of_the_same_shape_and_leaves_a_row(serving, tmp_path, monkeypatch, caplog):
    async def scenario(gateway: InProcess) -> Reply:
        async def plan(*args: Any, **kwargs: Any) -> None:
            raise RuntimeError("quotes the prompt: What is 2 + 2?")

        monkeypatch.setattr(gateway.gateway.state.planner, "plan", plan)
        return await gateway.post()

    reply = serving(scenario)

    assert (reply.status, reply.error["code"]) == (500, "internal_error")
    assert rows(tmp_path)[0]["error"] == "internal_error"
    assert "RuntimeError" in caplog.text
    assert "2 + 2" not in caplog.text + reply.body.decode()
