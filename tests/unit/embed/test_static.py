"""The static embedding that ships: the vectors of model2vec, in less time, whatever the text."""

from __future__ import annotations

import json
import shutil
import string
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefroute.embed.static import StaticEmbedder
from prefroute.errors import ConfigError, DataError
from prefroute.prompts import MAX_CHARS

SHIPPED = files("prefroute.embed") / "static_minilm"
TEXTS = [
    "What is the capital of France?",
    "def f(x):\n    return x**2  # it's squared",
    "naïve café ÀÉ, “quoted” — and 東京 Tokyo",
    "unbelievably antidisestablishmentarianistic words x_y a.b",
    "",
    "123,456.78 € \t\x00 done",
    "word " * 300,
]


@pytest.fixture(scope="module")
def embedder():
    return StaticEmbedder.builtin()


def test_vectors_equal_those_of_model2vec(embedder):
    from model2vec import StaticModel

    peer = StaticModel.from_pretrained(str(SHIPPED))
    texts = [text[:MAX_CHARS] for text in TEXTS]

    np.testing.assert_allclose(embedder.encode(texts), peer.encode(texts, max_length=None), atol=3e-6)


def test_vectors_have_length_one_and_nothing_known_gives_zeros(embedder):
    norms = np.linalg.norm(embedder.encode(["hello there", "", " \n"]), axis=1)

    np.testing.assert_allclose(norms, [1, 0, 0], atol=1e-6)


def test_a_vector_does_not_depend_on_its_batch_to_the_last_bit(embedder):
    together = embedder.encode(TEXTS)

    for text, row in zip(TEXTS, together, strict=True):
        assert (embedder.encode([text])[0] == row).all()


def test_a_vector_does_not_depend_on_what_was_read_before_to_the_last_bit(embedder):
    first = embedder.encode(TEXTS)

    fresh = StaticEmbedder.from_folder(str(SHIPPED))
    again = np.concatenate([fresh.encode([text]) for text in reversed(TEXTS)])[::-1]

    assert (first == again).all()


@given(st.text(alphabet=string.ascii_letters + string.digits, min_size=1, max_size=120))
def test_a_word_has_the_tokens_that_the_whole_tokenizer_gives_it(word):
    embedder = StaticEmbedder.builtin()
    ids = embedder.tokenizer.encode(word, add_special_tokens=False).ids
    known = [i for i in ids if i != embedder.tokenizer.token_to_id("[UNK]")]

    wanted = (embedder.rows[known] * embedder.weights[known, None]).sum(axis=0)

    norm = np.linalg.norm(wanted) or 1.0
    np.testing.assert_allclose(embedder.encode([word])[0], wanted / norm, atol=1e-6)


def test_rows_are_averaged_where_the_folder_does_not_ask_for_length_one(tmp_path, embedder):
    for name in ("tokenizer.json", "model.safetensors"):
        shutil.copy(str(SHIPPED / name), tmp_path / name)
    (tmp_path / "config.json").write_text(json.dumps({"normalize": False}), encoding="utf-8")
    ids = embedder.tokenizer.encode("an unfathomable question", add_special_tokens=False).ids

    mean, nothing = StaticEmbedder.from_folder(tmp_path).encode(["an unfathomable question", ""])

    wanted = (embedder.rows[ids] * embedder.weights[ids, None]).mean(axis=0)
    np.testing.assert_allclose(mean, wanted, rtol=1e-4, atol=1e-5)
    assert not nothing.any()


def test_a_tokenizer_that_splits_otherwise_takes_the_whole_text():
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import CharDelimiterSplit

    tokenizer = Tokenizer(WordLevel({"a b": 0, "c.d": 1, "?": 2}, unk_token="?"))
    tokenizer.pre_tokenizer = CharDelimiterSplit("|")
    own = StaticEmbedder(np.eye(3), np.ones(3, dtype=np.float32), tokenizer, id="own", spec="own")

    assert own.encode(["a b|unknown", "c.d"]).tolist() == [[1, 0, 0], [0, 1, 0]]


def test_text_in_the_middle_of_a_very_long_prompt_is_not_read(embedder):
    filler = "word " * MAX_CHARS

    plain, hidden = embedder.encode([filler + filler, filler + "zebra " + filler])

    assert (plain == hidden).all()


def test_meaning_shows_in_the_vectors(embedder):
    cat, kitten, engine = embedder.encode(["a small cat", "a little kitten", "the car engine failed"])

    assert cat @ kitten > cat @ engine + 0.2


def test_lone_surrogates_are_read_as_unknown(embedder):
    assert np.isfinite(embedder.encode(["a \ud800 b"])).all()


def test_shipped_weights_name_their_origin_and_licence():
    config = json.loads((SHIPPED / "config.json").read_text())

    assert config["distilled_from"]["licence"] == "Apache-2.0"
    assert config["distilled_from"]["sha256"].startswith("53aa5117")


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"is not a static embedding: it has no model\.safetensors"):
        StaticEmbedder.from_folder(tmp_path)


def test_weights_that_do_not_fit_the_tokenizer_are_refused(tmp_path):
    from safetensors.numpy import save_file

    for name in ("tokenizer.json", "config.json"):
        shutil.copy(str(SHIPPED / name), tmp_path / name)
    save_file({"embeddings": np.zeros((3, 4), dtype=np.float32)}, tmp_path / "model.safetensors")

    with pytest.raises(DataError, match="`embeddings` has 3 rows for"):
        StaticEmbedder.from_folder(tmp_path)


def test_weights_of_another_number_than_the_rows_are_refused(tmp_path):
    from safetensors.numpy import load_file, save_file

    for name in ("tokenizer.json", "config.json"):
        shutil.copy(str(SHIPPED / name), tmp_path / name)
    tensors = load_file(str(SHIPPED / "model.safetensors"))
    save_file({**tensors, "weights": tensors["weights"][:-1]}, tmp_path / "model.safetensors")

    with pytest.raises(DataError, match="`weights` has 29524 numbers for 29525 rows"):
        StaticEmbedder.from_folder(tmp_path)


def test_truncated_weights_are_refused(tmp_path):
    for name in ("tokenizer.json", "config.json", "model.safetensors"):
        shutil.copy(str(SHIPPED / name), tmp_path / name)
    content = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(content[: len(content) // 2])

    with pytest.raises(DataError, match="is not a readable static embedding"):
        StaticEmbedder.from_folder(tmp_path)


def test_another_file_has_another_id(tmp_path, embedder):
    for name in ("tokenizer.json", "config.json", "model.safetensors"):
        shutil.copy(str(SHIPPED / name), tmp_path / name)
    content = bytearray((tmp_path / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(bytes(content))

    assert StaticEmbedder.from_folder(tmp_path).id != embedder.id
