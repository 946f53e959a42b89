"""An imported checkpoint of RouteLLM's scores as their own module did: `routellm_mf_scores.json` holds what that gave.

The file says how it was made. Weights and vectors are drawn here again, not kept.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from prefroute.checkpoint import open_checkpoint, save_checkpoint
from prefroute.errors import CheckpointError, DataError
from prefroute.policy import Threshold, parse_router_name
from prefroute.routers._mf_routellm import ROUTELLM_MODELS
from prefroute.routers.mf import MF
from prefroute.testing import HashEmbedder

D, WIDTH = 24, 128
PROMPTS = ["add two numbers", "prove a theorem", "", "write a poem about a bug"]
SCORES = json.loads(Path(__file__).with_name("routellm_mf_scores.json").read_text())["scores"]


class Given(HashEmbedder):
    """Gives the vector that a prompt is the number of."""

    def __init__(self, vectors):
        super().__init__(D)
        self.vectors = vectors

    def encode(self, prompts):
        return self.vectors[[int(prompt) for prompt in prompts]]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def weights(rng):
    shapes = {"P.weight": (64, WIDTH), "text_proj.0.weight": (WIDTH, D), "classifier.0.weight": (1, WIDTH)}
    return {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}


@pytest.fixture
def file(tmp_path, weights):
    save_file(weights, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("pair", SCORES)
def test_imported_router_scores_as_their_module_does(file, rng, pair):
    vectors = rng.standard_normal((16, D), dtype=np.float32) / D  # drawn after the weights

    router = MF.from_routellm(file, Given(vectors), *pair.split())

    assert router.win_rate([str(i) for i in range(16)]) == pytest.approx(SCORES[pair], abs=1e-6)


def test_the_published_pair_has_the_numbers_that_routellm_gives_it():
    assert len(ROUTELLM_MODELS) == 64
    assert ROUTELLM_MODELS.index("gpt-4-1106-preview") == 24
    assert ROUTELLM_MODELS.index("mixtral-8x7b-instruct-v0.1") == 36


def test_imported_router_is_a_checkpoint_like_any_other(file, tmp_path):
    router = MF.from_routellm(file, HashEmbedder(D))
    save_checkpoint(router, tmp_path / "mf")

    loaded = open_checkpoint(tmp_path / "mf", embedder=HashEmbedder(D)).router

    assert np.array_equal(loaded.win_rate(PROMPTS), router.win_rate(PROMPTS))


@pytest.mark.parametrize("name", ["mf.pt", "mf.bin", "mf.pkl", "mf.ckpt"])
def test_other_formats_are_refused_without_being_opened(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x80\x04cos\nsystem\n")

    with pytest.raises(CheckpointError, match="not opened"):
        MF.from_routellm(tmp_path / name, HashEmbedder(D))


@pytest.mark.parametrize("change", ["missing", "extra", "shape", "nan", "integers"])
def test_file_with_other_content_is_refused(tmp_path, weights, change):
    changed = {
        "missing": {name: value for name, value in weights.items() if name != "P.weight"},
        "extra": weights | {"Q.weight": np.zeros(1, np.float32)},
        "shape": weights | {"P.weight": np.zeros((63, WIDTH), np.float32)},
        "nan": weights | {"P.weight": np.full((64, WIDTH), np.nan, np.float32)},
        "integers": weights | {"P.weight": np.zeros((64, WIDTH), np.int64)},
    }[change]
    save_file(changed, tmp_path / "model.safetensors")

    with pytest.raises(CheckpointError):
        MF.from_routellm(tmp_path / "model.safetensors", HashEmbedder(D))


def test_truncated_file_is_refused(file):
    file.write_bytes(file.read_bytes()[:100])

    with pytest.raises(CheckpointError, match="not a sound safetensors"):
        MF.from_routellm(file, HashEmbedder(D))


def test_embedder_of_another_dimension_is_refused(file):
    with pytest.raises(CheckpointError, match="24 dimensions"):
        MF.from_routellm(file, HashEmbedder(16))


def test_unknown_model_is_refused_with_the_nearest_name(file):
    with pytest.raises(DataError, match="gpt-4-1106-preview"):
        MF.from_routellm(file, HashEmbedder(D), "gpt-4-1106-previw")


def test_router_name_resolves_to_router_and_threshold():
    assert parse_router_name("router-mf-0.11593") == ("mf", Threshold(0.11593))
    assert parse_router_name("router-my-own-mf-0.5") == ("my-own-mf", Threshold(0.5))


@pytest.mark.parametrize(
    "name",
    [
        "gpt-4",
        "router-mf",
        "router--0.5",
        "mf-0.5",
        "router-0.5",
        "router-mf-\u0660.\u0665",
        "router-mf-0_5",
        "router-mf- 1",
    ],
)
def test_other_names_are_no_router_names(name):
    assert parse_router_name(name) is None
