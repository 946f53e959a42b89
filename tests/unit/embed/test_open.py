from __future__ import annotations

import subprocess
import sys

import pytest
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

from prefroute.embed import embedders, open_embedder
from prefroute.embed.cache import CachedEmbedder
from prefroute.errors import ConfigError


def test_registered_names():
    assert embedders.names() == ("minilm", "static")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "minlm",
            "Unknown embedder 'minlm'. Did you mean 'minilm'? Available: a folder, a hub name like ORG/NAME, minilm, "
            "onnx:FOLDER, openai:MODEL, static, stored:FILE.",
        ),
        ("", "Unknown embedder ''. Available: a folder, "),
        ("onnx:", "Embedder 'onnx:' names nothing after the colon. Write it as onnx:FOLDER."),
        ("openai:", "Embedder 'openai:' names nothing after the colon. Write it as openai:MODEL."),
        ("../no/such/folder", "Unknown embedder '../no/such/folder'."),
    ],
)
def test_spec_that_names_nothing_is_refused_with_what_is_possible(spec, message):
    with pytest.raises(ConfigError) as caught:
        open_embedder(spec)

    assert str(caught.value).startswith(message)


def test_hub_name_that_is_not_cached_says_so_offline():
    with pytest.raises(ConfigError, match="'nobody/nothing' is not in the local cache of the Hugging Face hub"):
        open_embedder("nobody/nothing")


def test_hub_name_is_opened_from_its_folder_and_keeps_its_name(bert_folder, monkeypatch):
    monkeypatch.setattr("prefroute.embed.hub.hub_folder", lambda _: bert_folder)

    assert open_embedder("some/model").spec == "some/model"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError("disk"), r"does not give out the model 'a/b' \(OSError\)"),
        (HFValidationError("bad"), "'a/b' is not a name that the Hugging Face hub allows"),
        (LocalEntryNotFoundError("none"), "'a/b' is not in the local cache of the Hugging Face hub"),
    ],
)
def test_failure_of_the_hub_is_one_line(monkeypatch, error, message):
    def fails(*args, **options):
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", fails)

    with pytest.raises(ConfigError, match=message):
        open_embedder("a/b")


def test_folder_without_config_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"has no readable config\.json.*onnx:FOLDER"):
        open_embedder(str(tmp_path))


@pytest.mark.parametrize("text", ["not json", "[1]", "\xff"])
def test_folder_with_a_config_that_is_no_object_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text, encoding="latin-1")

    with pytest.raises(ConfigError, match="is not a JSON object"):
        open_embedder(str(tmp_path))


def test_folder_of_model2vec_is_opened_as_static(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "model2vec"}')

    with pytest.raises(ConfigError, match="is not a static embedding"):  # it holds no weights
        open_embedder(str(tmp_path))


def test_cache_dir_wraps_and_keeps_the_name(tmp_path):
    plain = open_embedder("static")

    cached = open_embedder("static", cache_dir=tmp_path)

    assert isinstance(cached, CachedEmbedder)
    assert (cached.id, cached.spec, cached.dim, cached.trained_on) == (
        plain.id,
        plain.spec,
        plain.dim,
        plain.trained_on,
    )


def test_importing_the_room_loads_no_heavy_library():
    heavy = "{'torch', 'transformers', 'sentence_transformers', 'onnxruntime', 'aiohttp', 'tokenizers', 'pydantic'}"
    code = f"import sys, prefroute.embed; sys.exit(bool({heavy} & set(sys.modules)))"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
