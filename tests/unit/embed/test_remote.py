from __future__ import annotations

import json

import numpy as np
import pytest

from prefroute.embed import open_embedder
from prefroute.embed.remote import RemoteEmbedder
from prefroute.errors import ConfigError, UpstreamProtocolError, UpstreamRefused
from prefroute.http import Endpoint


@pytest.fixture
def remote(loopback):
    embedder = RemoteEmbedder.open("text-1", Endpoint(loopback.base_url))
    loopback.requests.clear()
    return embedder


def rows(*vectors, first=0):
    return {"data": [{"index": i, "embedding": v} for i, v in enumerate(vectors, first)]}


def test_id_names_model_host_and_dimension(loopback, remote):
    host = loopback.base_url.split("/")[2]

    assert (remote.id, remote.spec, remote.dim) == (f"openai:text-1@{host}/6", "openai:text-1", 6)


def test_vectors_follow_the_index_and_not_the_order_of_the_answer(loopback, remote):
    vectors = remote.encode(["a", "b", "c"])  # the loopback answers in reverse order

    assert vectors.tolist() == [loopback.vector("a"), loopback.vector("b"), loopback.vector("c")]


def test_texts_go_in_batches_of_at_most_256(loopback, remote):
    prompts = [f"p{i}" for i in range(600)]

    vectors = remote.encode(prompts)

    assert sorted(len(body["input"]) for _, _, body in loopback.requests) == [88, 256, 256]
    assert vectors.tolist() == [loopback.vector(p) for p in prompts]


def test_texts_go_in_batches_of_at_most_200_000_characters(loopback, remote):
    remote.encode(["x" * 7_000 + str(i) for i in range(50)])

    sizes = [sum(map(len, body["input"])) for _, _, body in loopback.requests]
    assert max(sizes) <= 200_000
    assert len(sizes) == 2  # 50 texts of 7,002 characters: 28 fit into one batch


def test_long_text_is_cut_before_it_is_sent(loopback, remote):
    remote.encode(["a" * 60_000 + "b" * 40_000])

    sent = loopback.requests[0][2]["input"][0]
    assert len(sent) == 8_000
    assert sent[0] + sent[-1] == "ab"


def test_empty_text_is_sent_as_a_space_and_a_surrogate_as_a_question_mark(loopback, remote):
    remote.encode(["", "a\ud800"])

    assert loopback.requests[0][2]["input"] == [" ", "a?"]


def test_nothing_to_encode_makes_no_request(loopback, remote):
    assert remote.encode([]).shape == (0, 6)
    assert loopback.requests == []


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({}, "without a list `data`"),
        ({"data": "none"}, "without a list `data`"),
        ({"data": [1, 2]}, "without a list `data`"),
        (rows([0.5] * 6), "1 embeddings for 2 texts"),
        (rows([0.5] * 6, [0.5] * 6, [0.5] * 6), "3 embeddings for 2 texts"),
        (rows([0.5] * 6, [0.5] * 6, first=1), "`index` does not run from 0 to 1"),
        ({"data": [{"index": 0, "embedding": [1.0]}] * 2}, "`index` does not run from 0 to 1"),
        ({"data": [{"embedding": [0.5] * 6}] * 2}, "`index` does not run from 0 to 1"),
        ({"data": [{"index": "0", "embedding": [0.5] * 6}] * 2}, "`index` does not run from 0 to 1"),
        (rows([0.5] * 5, [0.5] * 5), r"shape \(2, 5\), wanted \(2, 6\)"),
        (rows([0.5] * 5, [0.5] * 6), "of different lengths, or not of numbers"),
        (rows(["a"] * 6, ["b"] * 6), "of different lengths, or not of numbers"),
        (rows("AAAA", "AAAA"), "of different lengths, or not of numbers"),
        (rows({"a": 1}, {"a": 1}), "of different lengths, or not of numbers"),
        (rows([], []), r"shape \(2, 0\), wanted \(2, 6\)"),
        (rows([[0.5]] * 6, [[0.5]] * 6), r"shape \(2, 6, 1\), wanted \(2, 6\)"),
        (rows([0.5] * 5 + [1e39], [0.5] * 6), "NaN or infinity"),  # beyond float32
        (rows([0.5] * 5 + [None], [0.5] * 6), "NaN or infinity"),
    ],
)
def test_answer_that_is_not_the_embeddings_asked_for_is_a_protocol_error(loopback, remote, answer, problem):
    loopback.says(200, answer)

    with pytest.raises(UpstreamProtocolError, match=problem):
        remote.encode(["a", "b"])


def test_opening_refuses_what_the_endpoint_refuses(loopback):
    loopback.says(404, {"error": {"message": "The model `nope` does not exist"}})

    with pytest.raises(UpstreamRefused, match=r"answered 404: The model `nope` does not exist\. Check the base URL"):
        RemoteEmbedder.open("nope", Endpoint(loopback.base_url))


def test_open_embedder_takes_the_endpoint_from_the_environment(loopback, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", loopback.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")

    embedder = open_embedder("openai:text-1")

    assert embedder.dim == 6
    assert loopback.requests[0][1]["Authorization"] == "Bearer sk-1"


def test_open_embedder_caches_a_remote_one(loopback, tmp_path):
    endpoint = Endpoint(loopback.base_url)
    open_embedder("openai:text-1", endpoint=endpoint, cache_dir=tmp_path).encode(["a", "b"])
    n_before = len(loopback.requests)

    vectors = open_embedder("openai:text-1", endpoint=endpoint, cache_dir=tmp_path).encode(["b"])

    assert vectors.tolist() == [loopback.vector("b")]
    assert [json.dumps(body["input"]) for _, _, body in loopback.requests[n_before:]] == ['["dimension"]']


def test_key_with_a_line_break_is_refused_before_anything_is_sent(loopback, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", loopback.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1\n")

    with pytest.raises(ConfigError, match="without spaces or line breaks"):
        open_embedder("openai:text-1")

    assert loopback.requests == []


def test_float32_values_are_exact(loopback, remote):
    wanted = np.random.default_rng(0).normal(size=(2, 6)).astype(np.float32)
    loopback.says(200, rows(*wanted.astype(float).tolist()))

    assert remote.encode(["a", "b"]).tobytes() == wanted.tobytes()
