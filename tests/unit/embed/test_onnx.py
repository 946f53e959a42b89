from __future__ import annotations

import sys

import numpy as np
import pytest

from prefroute.embed import open_embedder
from prefroute.errors import ConfigError, MissingExtraError

pytest.importorskip("onnxruntime", reason="needs the extra `onnx`")

WORDS = ["?", "a", "b", "c"]
ROWS = np.array([[9, 9, 9], [1, 0, 0], [0, 2, 0], [0, 0, 4]], dtype=np.float32)


@pytest.fixture
def folder(tmp_path, onnx_writers):
    write_onnx, write_tokenizer = onnx_writers
    write_onnx(tmp_path / "m", ROWS)
    write_tokenizer(tmp_path / "m", WORDS)
    return tmp_path / "m"


def test_tokens_are_averaged_without_padding(folder):
    embedder = open_embedder(f"onnx:{folder}")

    vectors = embedder.encode(["a b", "c", "a a b zzz"])

    # "a b" = ([1,0,0] + [0,2,0]) / 2; "zzz" is unknown, row 0
    assert vectors.tolist() == [[0.5, 1, 0], [0, 0, 4], [11 / 4, 11 / 4, 9 / 4]]


def test_text_without_a_token_is_zeros(folder):
    assert open_embedder(f"onnx:{folder}").encode(["", "  ", "a"]).tolist() == [[0, 0, 0], [0, 0, 0], [1, 0, 0]]


def test_rows_come_back_in_the_order_of_the_prompts(folder):
    prompts = ["a " * i + "b" for i in range(100)][::-1]

    vectors = open_embedder(f"onnx:{folder}").encode(prompts)

    wanted = [[i / (i + 1), 2 / (i + 1), 0] for i in range(100)][::-1]
    np.testing.assert_allclose(vectors, wanted, atol=1e-6)


def test_output_with_one_row_a_text_is_taken_as_it_is(folder, onnx_writers):
    onnx_writers[0](folder, ROWS, pooled=True)

    assert open_embedder(f"onnx:{folder}").encode(["a b"]).tolist() == [[0.5, 1, 0]]


def test_graph_with_a_single_input_works(folder, onnx_writers):
    onnx_writers[0](folder, ROWS, inputs=("input_ids",))

    assert open_embedder(f"onnx:{folder}").encode(["c"]).tolist() == [[0, 0, 4]]


def test_text_is_read_up_to_the_tokenizers_limit(folder, onnx_writers):
    onnx_writers[1](folder, WORDS, max_tokens=2)

    assert open_embedder(f"onnx:{folder}").encode(["a b c c c"]).tolist() == [[0.5, 1, 0]]


def test_text_is_read_up_to_the_limit_that_sentence_transformers_states(folder):
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 1}')

    assert open_embedder(f"onnx:{folder}").encode(["a b c"]).tolist() == [[1, 0, 0]]


def test_id_changes_with_the_weights_and_with_the_tokenizer(folder, onnx_writers):
    first = open_embedder(f"onnx:{folder}").id
    onnx_writers[0](folder, ROWS + 1)
    second = open_embedder(f"onnx:{folder}").id
    onnx_writers[1](folder, WORDS[::-1])
    third = open_embedder(f"onnx:{folder}").id

    assert len({first, second, third}) == 3
    assert first.startswith("onnx@")


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_missing_file_is_named(folder, name):
    (folder / name).unlink()

    with pytest.raises(ConfigError, match=f"{name} is missing. `onnx:FOLDER` wants a folder with model.onnx and"):
        open_embedder(f"onnx:{folder}")


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"{"])
def test_graph_that_cannot_be_read_is_one_line(folder, content):
    (folder / "model.onnx").write_bytes(content)

    with pytest.raises(ConfigError, match=r"cannot be opened \(\w+\)\. Export the model again\.$"):
        open_embedder(f"onnx:{folder}")


@pytest.mark.parametrize("content", [b"\xff" * 100, b"{", b"[]", b"{}"])
def test_tokenizer_that_cannot_be_read_is_one_line(folder, content):
    (folder / "tokenizer.json").write_bytes(content)

    with pytest.raises(ConfigError, match=r"Export the model again\.$"):
        open_embedder(f"onnx:{folder}")


def test_graph_with_another_input_is_refused(folder, onnx_writers):
    onnx_writers[0](folder, ROWS, inputs=("pixel_values",))

    with pytest.raises(ConfigError, match=r"wants the input 'pixel_values'\. A text encoder takes input_ids"):
        open_embedder(f"onnx:{folder}")


def test_missing_library_names_the_extra(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)

    with pytest.raises(MissingExtraError, match=r"The `onnx` embedder needs the extra 'onnx'"):
        open_embedder(f"onnx:{folder}")
