from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from email.utils import formatdate

import numpy as np
import pytest

from prefroute.errors import (
    ConfigError,
    UpstreamProtocolError,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from prefroute.http import Endpoint, OpenAIClient, run_blocking

KEY = "sk-canary-0123456789"
BODY = {"model": "m", "input": ["hello"]}


class Waits(list[float]):
    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


def client_of(loopback, waits=None, **options):
    endpoint = Endpoint(loopback.base_url, KEY, **options)
    return OpenAIClient(endpoint, rng=np.random.default_rng(0), sleep=Waits() if waits is None else waits)


def post(client):
    return client.post_all("embeddings", [BODY])[0]


def test_posts_json_with_the_key_as_bearer_token(loopback):
    post(client_of(loopback))

    path, headers, body = loopback.requests[0]
    assert (path, body) == ("/v1/embeddings", BODY)
    assert headers["Authorization"] == f"Bearer {KEY}"


def test_no_key_sends_no_authorization(loopback):
    OpenAIClient(Endpoint(loopback.base_url)).post_all("embeddings", [BODY])

    assert "Authorization" not in loopback.requests[0][1]


def test_slash_at_the_end_of_the_base_url_does_not_matter(loopback):
    OpenAIClient(Endpoint(loopback.base_url + "/")).post_all("embeddings", [BODY])

    assert loopback.requests[0][0] == "/v1/embeddings"


def test_answers_come_in_the_order_of_the_bodies(loopback):
    bodies = [{"input": [str(i)]} for i in range(20)]

    answers = client_of(loopback).post_all("embeddings", bodies)

    assert [a["data"][0]["embedding"] for a in answers] == [loopback.vector(str(i)) for i in range(20)]


def test_no_bodies_make_no_request(loopback):
    assert client_of(loopback).post_all("embeddings", []) == []
    assert loopback.requests == []


def test_requests_in_flight_are_bounded(loopback):
    loopback.delay_s = 0.02

    client_of(loopback, n_parallel=3).post_all("embeddings", [BODY] * 12)

    assert loopback.most_parallel <= 3


def test_works_inside_a_running_loop(loopback):
    async def caller():
        return post(client_of(loopback))

    assert len(asyncio.run(caller())["data"]) == 1


def test_async_core_can_be_awaited(loopback):
    answers = asyncio.run(client_of(loopback).gather("embeddings", [BODY, BODY]))

    assert len(answers) == 2


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_status_that_may_pass_is_retried(loopback, status):
    waits = Waits()
    loopback.says(status, {})

    post(client_of(loopback, waits))

    assert len(loopback.requests) == 2
    assert 0.25 <= waits[0] <= 0.5  # first wait: 0.5 s times a draw in [0.5, 1)


def test_waits_double_up_to_eight_seconds(loopback):
    waits = Waits()
    for _ in range(7):
        loopback.says(500, {})

    post(client_of(loopback, waits, n_retries=7))

    most = [0.5, 1, 2, 4, 8, 8, 8]
    assert all(high / 2 <= wait <= high for wait, high in zip(waits, most, strict=True))


@pytest.mark.parametrize(
    ("header", "wait_s"), [("7", 7.0), ("0", 0.0), ("-3", 0.0), ("86400", 60.0), ("inf", 60.0), ("1.5", 1.5)]
)
def test_retry_after_is_obeyed_up_to_a_minute(loopback, header, wait_s):
    waits = Waits()
    loopback.says(429, {}, Retry_After=header)

    post(client_of(loopback, waits))

    assert waits == [wait_s]


def test_retry_after_as_a_date_far_ahead_waits_a_minute(loopback):
    waits = Waits()
    loopback.says(503, {}, Retry_After=formatdate(4102444800, usegmt=True))  # 2100-01-01

    post(client_of(loopback, waits))

    assert waits == [60.0]


@pytest.mark.parametrize("header", ["soon", "nan", "", "Mon, 01 Jan 2024 00:00:00 +99999999999999"])
def test_retry_after_that_says_nothing_is_ignored(loopback, header):
    waits = Waits()
    loopback.says(429, {}, Retry_After=header)

    post(client_of(loopback, waits))

    assert 0.25 <= waits[0] <= 0.5


def test_retries_that_run_out_raise_unavailable(loopback):
    for _ in range(3):
        loopback.says(503, {"error": {"message": "overloaded"}})

    with pytest.raises(UpstreamUnavailable, match=r"answered 503: overloaded\. Try again later\.$"):
        post(client_of(loopback, n_retries=2))

    assert len(loopback.requests) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_status_that_will_not_pass_is_refused_at_once(loopback, status):
    loopback.says(status, {"error": {"message": "no such model"}})

    with pytest.raises(UpstreamRefused, match=f"answered {status}: no such model. Check"):
        post(client_of(loopback))

    assert len(loopback.requests) == 1


def test_one_failure_among_many_is_raised_as_itself(loopback):
    loopback.says(400, {"error": "bad"})

    with pytest.raises(UpstreamRefused, match="answered 400: bad"):
        client_of(loopback).post_all("embeddings", [BODY] * 10)


def test_several_failures_raise_one_plain_error(loopback):
    for _ in range(4):
        loopback.says(400, {})

    with pytest.raises(UpstreamRefused):
        client_of(loopback).post_all("embeddings", [BODY] * 4)


def test_late_answer_is_a_timeout_after_the_retries(loopback):
    loopback.stalls(0.4)
    loopback.stalls(0.4)

    with pytest.raises(UpstreamTimeout, match=r"did not answer within 0\.1 s"):
        post(client_of(loopback, timeout_s=0.1, n_retries=1))

    assert len(loopback.requests) == 2


def test_late_answer_then_a_prompt_one_succeeds(loopback):
    loopback.stalls(0.5)

    answer = post(client_of(loopback, timeout_s=0.2))

    assert len(answer["data"]) == 1


def test_body_cut_off_is_retried(loopback):
    loopback.breaks_off()

    assert len(post(client_of(loopback))["data"]) == 1


def test_body_cut_off_for_good_is_unavailable(loopback):
    loopback.breaks_off()

    with pytest.raises(UpstreamUnavailable, match="broke the connection off"):
        post(client_of(loopback, n_retries=0))


def test_tls_that_is_none_is_unavailable_without_a_second_try(loopback):
    waits = Waits()
    client = OpenAIClient(Endpoint(loopback.base_url.replace("http:", "https:"), KEY), sleep=waits)

    with pytest.raises(UpstreamUnavailable, match="offers no TLS that can be trusted"):
        post(client)

    assert waits == []


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of the bare socket, which has no orderly end
def test_answer_that_is_not_http_is_a_protocol_error():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"220 mail.example ESMTP\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        client = OpenAIClient(Endpoint(f"http://127.0.0.1:{server.getsockname()[1]}/v1"), sleep=Waits())

        with pytest.raises(UpstreamProtocolError, match="does not speak HTTP as expected"):
            post(client)

        thread.join()


def test_port_that_nobody_listens_on_is_unavailable(loopback):
    client = client_of(loopback, n_retries=1)
    loopback.close()

    with pytest.raises(UpstreamUnavailable, match="cannot be reached: "):
        post(client)

    loopback.__init__()  # so that the fixture has something to close


def test_redirect_is_refused_and_not_followed(loopback):
    loopback.says(302, b"", Location=f"{loopback.base_url}/elsewhere")

    with pytest.raises(UpstreamProtocolError, match=r"redirect \(302\), which is not followed"):
        post(client_of(loopback))

    assert len(loopback.requests) == 1


@pytest.mark.parametrize("content", [b"<html>Welcome</html>", b"", b"[1, 2]", b"\xff\xfe", b'{"data": NaN}'])
def test_answer_that_is_no_json_object_is_a_protocol_error(loopback, content):
    loopback.says(200, content, Content_Type="text/html; charset=utf-8")

    with pytest.raises(UpstreamProtocolError, match="answered 200 with text/html, not with a JSON object"):
        post(client_of(loopback))


def test_answer_without_end_is_cut_at_a_limit(loopback, monkeypatch):
    monkeypatch.setattr("prefroute.http._MAX_ANSWER_BYTES", 1 << 20)
    loopback.says(200, b" " * (2 << 20))

    with pytest.raises(UpstreamProtocolError, match="more than 1 MiB"):
        post(client_of(loopback))


def test_key_is_in_no_message_repr_or_log(loopback, caplog):
    caplog.set_level(logging.DEBUG, logger="prefroute")
    loopback.says(429, {"error": {"message": f"slow down {KEY}"}})
    loopback.says(401, {"error": {"message": f"Incorrect API key provided: {KEY}"}})
    client = client_of(loopback)

    with pytest.raises(UpstreamRefused) as caught:
        post(client)

    assert str(caught.value).endswith("answered 401: Incorrect API key provided: ***. Check the API key.")
    assert KEY not in repr(client.endpoint) + str(caught.value) + caplog.text


def test_error_text_is_one_short_line_without_control_characters(loopback):
    loopback.says(400, {"error": {"message": "line\r\nbreak \x1b[31mred " + "x" * 1000}})

    with pytest.raises(UpstreamRefused) as caught:
        post(client_of(loopback))

    text = str(caught.value)
    assert text.isprintable()
    assert len(text) < 350
    assert "line break" in text


@pytest.mark.parametrize(
    "url",
    ["", "api.openai.com/v1", "ftp://host/v1", "http://", "file:///etc/passwd", "http://[::1", "http://host:port/v1"],
)
def test_base_url_that_is_no_http_url_is_refused(url):
    with pytest.raises(ConfigError, match="`base_url`"):
        Endpoint(url)


@pytest.mark.parametrize("url", ["http://user:secret@host/v1", "http://host/v1?key=secret", "http://host/v1#secret"])
def test_base_url_with_a_secret_is_refused_without_repeating_it(url):
    with pytest.raises(ConfigError) as caught:
        Endpoint(url)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("key", ["", "a b", "a\nb", "key\r\nX-Evil: 1", "schlüssel"])
def test_key_that_cannot_be_a_header_is_refused_without_repeating_it(key):
    with pytest.raises(ConfigError, match=r"`api_key` must be non-empty ASCII without spaces or line breaks") as caught:
        Endpoint("http://host/v1", key)

    assert not key or key not in str(caught.value)


@pytest.mark.parametrize(
    "options", [{"timeout_s": 0}, {"timeout_s": float("nan")}, {"n_retries": -1}, {"n_parallel": 0}]
)
def test_limits_out_of_range_are_refused(options):
    with pytest.raises(ConfigError, match="timeout_s > 0, n_retries >= 0 and n_parallel >= 1"):
        Endpoint("http://host/v1", **options)


def test_host_keeps_the_port():
    assert Endpoint("http://127.0.0.1:8080/v1").host == "127.0.0.1:8080"


def test_run_blocking_hands_on_errors_from_inside_a_loop():
    async def fails():
        raise UpstreamRefused("no")

    async def caller():
        run_blocking(fails())

    with pytest.raises(UpstreamRefused, match="no"):
        asyncio.run(caller())


@pytest.mark.parametrize(
    ("status", "may_have_run", "may_pass"), [(400, False, False), (429, False, True), (500, True, True)]
)
def test_error_says_whether_the_work_may_have_been_done_and_billed(loopback, status, may_have_run, may_pass):
    loopback.says(status, {}, Retry_After="7")

    with pytest.raises((UpstreamRefused, UpstreamUnavailable)) as caught:
        post(client_of(loopback, n_retries=0))

    assert (caught.value.status, caught.value.may_have_run, caught.value.may_pass) == (status, may_have_run, may_pass)
    assert caught.value.retry_after_s == (7.0 if may_pass else None)


def test_a_broken_connection_may_have_run_and_a_refused_one_has_not(loopback):
    loopback.breaks_off()
    with pytest.raises(UpstreamUnavailable) as cut:
        post(client_of(loopback, n_retries=0))
    nobody = Endpoint("http://127.0.0.1:1/v1", n_retries=0)
    with pytest.raises(UpstreamUnavailable) as refused:
        OpenAIClient(nobody).post_all("embeddings", [BODY])

    assert (cut.value.may_have_run, refused.value.may_have_run) == (True, False)


def test_each_attempt_runs_inside_a_block_of_the_caller(loopback):
    loopback.says(500, {})
    seen = []

    @contextlib.asynccontextmanager
    async def around():
        seen.append("in")
        try:
            yield
        except UpstreamUnavailable as exc:
            seen.append(str(exc.status))
            raise
        seen.append("answered")

    async def run():
        async with client_of(loopback).connected() as connected_post:
            return await connected_post("embeddings", BODY, around)

    asyncio.run(run())

    assert seen == ["in", "500", "in", "answered"]
