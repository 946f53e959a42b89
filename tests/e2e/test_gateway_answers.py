"""What the gateway says of an answer: how long it waits for one, who gave it, what it cost, and who counted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.servers.faulty_upstream import DONE, HELLO, ROLE, chunk, completion, stream, whole
from tests.servers.faulty_upstream import STREAM_HEAD as HEAD
from tests.servers.gateway import CHAT, InProcess, Reply, make_key, rows

STREAM = {**CHAT, "stream": True}
HURRIED = "timeouts: {first_token_s: 0.3, answer_s: 20}"
SLOW_S = 0.8


def attempts(folder) -> list[tuple[str, str]]:
    return [(attempt["model"], attempt["outcome"]) for attempt in rows(folder, "attempts")]


def test_a_whole_answer_may_take_longer_than_a_first_token(serving, upstream, tmp_path):
    upstream.does(SLOW_S, whole(200, completion()))

    reply = serving(lambda gateway: gateway.post(), model=HURRIED)

    assert (reply.status, reply.headers["x-prefroute-model"]) == (200, "big")
    assert attempts(tmp_path) == [("big", "ok")]


def test_blank_lines_while_a_model_writes_are_no_beginning_of_its_answer(serving, upstream, tmp_path):
    content = json.dumps(completion()).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (2 + len(content))
    upstream.does(head + b"\n", SLOW_S, b"\n" + content)

    reply = serving(lambda gateway: gateway.post(), model="timeouts: {answer_s: 20, idle_s: 0.3}")

    assert reply.json == completion()
    assert attempts(tmp_path) == [("big", "ok")]


@pytest.mark.parametrize(
    ("limits", "said"),
    [("answer_s: 0.2", "sent no content within 0.2 s"), ("total_s: 0.2", "was not done within 0.2 s")],
)
def test_a_whole_answer_has_a_deadline_of_its_own_within_that_of_the_attempt(serving, upstream, limits, said):
    upstream.always(SLOW_S, whole(200, completion()))

    reply = serving(lambda gateway: gateway.post(), model=f"timeouts: {{{limits}}}")

    assert (reply.status, reply.error["code"]) == (504, "upstream_timeout")
    assert f"Model 'big' {said}" in reply.error["message"]


@pytest.mark.parametrize("begins", [[], [chunk(ROLE)], [chunk(b": ping\n\n"), chunk(ROLE), chunk(b": ping\n\n")]])
def test_a_stream_without_content_goes_to_the_next_model_after_the_first_token_s(serving, upstream, tmp_path, begins):
    upstream.does(HEAD, *begins, SLOW_S, *map(chunk, HELLO))
    upstream.does(*stream(*HELLO, DONE))

    reply = serving(lambda gateway: gateway.post(body=STREAM), model=HURRIED)

    assert reply.body == b"".join(HELLO) + DONE
    assert attempts(tmp_path) == [("big", "upstream_timeout"), ("small", "ok")]


def test_keep_alives_before_the_first_content_stay_behind(serving, upstream):
    upstream.does(*stream(b": ping\n\n", b": ping\n\n", ROLE, b": ping\n\n", *HELLO[1:], DONE))

    reply = serving(lambda gateway: gateway.post(body=STREAM))

    assert reply.body == b"".join(HELLO) + DONE


def usage(tokens_in: int, tokens_out: int, **more: Any) -> bytes:
    counts = {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, **more}
    return whole(200, completion() | {"usage": counts})


@pytest.mark.parametrize(
    "said",
    [
        {"prompt_tokens_details": {"cached_tokens": 800}},
        {"prompt_cache_hit_tokens": 800},
        {"cache_read_input_tokens": 800},
    ],
)
def test_tokens_from_the_models_cache_cost_their_share(serving, upstream, tmp_path, said):
    upstream.does(usage(1000, 2, **said))

    async def scenario(gateway: InProcess) -> str:
        await gateway.post()
        return (await gateway.get("/metrics")).body.decode()

    page = serving(scenario, model="cached_share: 0.1")

    (row,) = rows(tmp_path)
    assert (row["tokens_in"], row["tokens_cached"], row["usage_source"]) == (1000, 800, "upstream")
    assert row["cost_usd"] == pytest.approx((200 * 10 + 800 * 10 * 0.1 + 2 * 30) / 1e6)
    assert 'prefroute_cached_tokens_total{model="big"} 800.0' in page


def test_a_stream_says_its_cached_tokens_too_and_never_more_than_it_read(serving, upstream, tmp_path):
    counts = {"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 900}}
    upstream.does(*stream(*HELLO, b"data: %b\n\n" % json.dumps({"choices": [], "usage": counts}).encode(), DONE))

    serving(lambda gateway: gateway.post(body=STREAM), model="cached_share: 0")

    (row,) = rows(tmp_path)
    assert (row["tokens_in"], row["tokens_cached"]) == (7, 7)
    assert row["cost_usd"] == pytest.approx(2 * 30 / 1e6)


LONG = {"model": "auto", "messages": [{"role": "user", "content": "word " * 2000}]}  # 10,000 characters
TALE = completion("a tale " * 1000)  # 7,000 characters


@pytest.mark.parametrize(
    ("counts", "wanted"),
    [
        ({"prompt_tokens": 2000, "completion_tokens": 1100}, (2000, 1100, "upstream")),
        ({"prompt_tokens": 9000, "completion_tokens": 9000}, (9000, 9000, "upstream")),
        ({"prompt_tokens": 400, "completion_tokens": 250}, (400, 250, "upstream")),  # a tokenizer unlike ours
        ({}, (2504, 1750, "estimate")),
        ({"prompt_tokens": 0, "completion_tokens": 0}, (2504, 1750, "estimate")),
        ({"prompt_tokens": -1, "completion_tokens": "7"}, (2504, 1750, "estimate")),
        ({"prompt_tokens": 1, "completion_tokens": 1100}, (2504, 1100, "estimate")),
        ({"prompt_tokens": 2000, "completion_tokens": 1}, (2000, 1750, "estimate")),
    ],
)
def test_counts_that_cannot_be_true_of_the_text_are_replaced_by_ours(serving, upstream, tmp_path, counts, wanted):
    upstream.does(whole(200, TALE | {"usage": counts}))

    async def scenario(gateway: InProcess) -> str:
        await gateway.post(body=LONG)
        return (await gateway.get("/metrics")).body.decode()

    page = serving(scenario)

    (row,) = rows(tmp_path)
    assert (row["tokens_in"], row["tokens_out"], row["usage_source"]) == wanted
    assert row["cost_usd"] == pytest.approx((wanted[0] * 10 + wanted[1] * 30) / 1e6)
    assert ('prefroute_estimated_requests_total{model="big"} 1.0' in page) == (wanted[2] == "estimate")
    if wanted[2] == "estimate":
        assert f'prefroute_estimated_cost_usd_total{{model="big"}} {row["cost_usd"]}' in page


def test_a_picture_that_costs_less_than_reckoned_is_believed(serving, upstream, tmp_path):
    parts = [{"type": "image_url", "image_url": {"url": "http://127.0.0.1/x.png"}}] * 3
    upstream.does(usage(255, 2))

    body = {"model": "big", "messages": [{"role": "user", "content": parts}]}
    serving(lambda gateway: gateway.post(body=body))

    (row,) = rows(tmp_path)
    assert (row["tokens_in"], row["usage_source"]) == (255, "upstream")


@pytest.mark.parametrize(
    ("path", "field", "given", "tokens_in"),
    [
        ("/v1/embeddings", "input", "word " * 8000, 10_000),
        ("/v1/embeddings", "input", ["word " * 4000, "word " * 4000], 10_000),
        ("/v1/embeddings", "input", [[1] * 300, [2] * 500], 800),
        ("/v1/completions", "prompt", list(range(20_000)), 20_000),
        ("/v1/completions", "prompt", [list(range(500)), list(range(500))], 1000),
    ],
)
def test_texts_and_token_numbers_are_counted_where_the_model_counts_nothing(
    serving, upstream, tmp_path, path, field, given, tokens_in
):
    reply = serving(lambda gateway: gateway.post(path, {"model": "big", field: given}))

    assert reply.status == 200
    (row,) = rows(tmp_path)
    assert (row["tokens_in"], row["usage_source"]) == (tokens_in, "estimate")
    assert row["cost_usd"] >= tokens_in * 10 / 1e6
    assert row["prompt_hash"] is None  # an input is counted, and neither scored nor kept


def test_token_numbers_have_to_fit_the_context(serving, upstream):
    body = {"model": "auto", "prompt": list(range(20_000))}

    reply = serving(lambda gateway: gateway.post("/v1/completions", body), model="context_tokens: 8000")

    assert (reply.status, reply.error["code"]) == (400, "unsupported_content")
    assert upstream.requests == []


def test_an_answer_by_a_fallback_says_so_and_whom_the_policy_chose(serving, upstream, tmp_path):
    _, secret = make_key(tmp_path, rights=["explain", "metrics"])
    upstream.does(whole(500, b""))

    async def scenario(gateway: InProcess) -> tuple[Reply, Reply, str]:
        replies = [await gateway.post(key=secret) for _ in range(2)]
        return replies[0], replies[1], (await gateway.get("/metrics", key=secret)).body.decode()

    stood_in, chosen, page = serving(scenario)

    said = [{name[12:]: text for name, text in reply.headers.items()} for reply in (stood_in, chosen)]
    assert (said[0]["model"], said[0]["reason"], said[0]["chosen"]) == ("small", "fallback", "big")
    assert (said[1]["model"], said[1]["reason"], said[1].get("chosen")) == ("big", "policy", None)
    assert [(row["model"], row["chosen"], row["reason"]) for row in rows(tmp_path)] == [
        ("small", "big", "fallback"),
        ("big", "big", "policy"),
    ]
    assert 'prefroute_decisions_total{reason="fallback",route="auto"} 1.0' in page
    assert 'prefroute_decisions_total{reason="policy",route="auto"} 1.0' in page


@pytest.mark.parametrize(("answers", "status"), [(whole(500, b""), 502), (whole(429, b""), 429), (0.5, 504)])
def test_an_error_after_models_were_asked_has_the_headers_of_an_answer(serving, upstream, tmp_path, answers, status):
    _, secret = make_key(tmp_path, rights=["explain"])
    upstream.always(answers)

    reply = serving(lambda gateway: gateway.post(key=secret), model="timeouts: {answer_s: 0.2}")

    said = {name: text for name, text in reply.headers.items() if name.startswith("x-prefroute-")}
    win_rate = said.pop("x-prefroute-win-rate")
    assert reply.status == status
    assert said == {"x-prefroute-model": "big", "x-prefroute-route": "auto", "x-prefroute-reason": "policy"}
    assert 0 <= float(win_rate) <= 1


TOO_LONG: dict[str, dict[str, Any]] = {
    "a code": {"message": "too long", "code": "context_length_exceeded"},
    "a type": {"message": "too long", "type": "exceed_context_size_error", "code": 400},
    "words": {"message": "This model's maximum context length is 8 tokens.", "code": 400},
}


@pytest.mark.parametrize("error", TOO_LONG.values(), ids=TOO_LONG)
@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["whole", "stream"])
def test_what_is_too_long_for_one_model_goes_to_the_next(serving, upstream, tmp_path, error, body):
    upstream.does(whole(400, {"error": error}))

    reply = serving(lambda gateway: gateway.post(body=body))

    assert (reply.status, reply.headers["x-prefroute-model"]) == (200, "small")
    assert attempts(tmp_path) == [("big", "upstream_refused"), ("small", "ok")]
    assert rows(tmp_path)[0]["reason"] == "fallback"


def test_what_is_too_long_for_every_model_is_the_clients_to_mend(serving, upstream):
    refusal = {"error": {**TOO_LONG["a code"], "type": "invalid_request_error", "param": "messages"}}
    upstream.does(whole(400, refusal))
    upstream.does(whole(500, b""))

    reply = serving(lambda gateway: gateway.post())

    assert (reply.status, reply.json) == (400, refusal)
    assert reply.headers["x-prefroute-model"] == "big"


def test_a_model_with_no_more_room_is_not_asked(serving, upstream, tmp_path):
    upstream.always(whole(400, {"error": TOO_LONG["a code"]}))

    reply = serving(lambda gateway: gateway.post(), model="context_tokens: 8000")

    assert reply.status == 400
    assert attempts(tmp_path) == [("big", "upstream_refused")]
