"""An imported checkpoint of RouteLLM's scores as their forward pass does, written here with torch's own layers.

Checked once by hand against the module of `routellm` 0.2.0 itself (docs/how-to/come-from-routellm.md).
"""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from prefroute.checkpoint import open_checkpoint, save_checkpoint
from prefroute.errors import CheckpointError, DataError
from prefroute.policy import Threshold, parse_router_name
from prefroute.routers._mf_routellm import ROUTELLM_MODELS
from prefroute.routers.mf import MF
from prefroute.testing import HashEmbedder

D, WIDTH = 24, 128
PROMPTS = ["add two numbers", "prove a theorem", "", "write a poem about a bug"]


@pytest.fixture
def weights():
    torch.manual_seed(0)
    return {
        "P.weight": torch.randn(64, WIDTH),
        "text_proj.0.weight": torch.randn(WIDTH, D) / D**0.5,
        "classifier.0.weight": torch.randn(1, WIDTH) / WIDTH**0.5,
    }


@pytest.fixture
def file(tmp_path, weights):
    save_file(weights, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def forward(weights, strong, weak, vectors):
    pair = torch.nn.functional.normalize(weights["P.weight"][[strong, weak]], p=2, dim=1)
    projected = torch.from_numpy(vectors) @ weights["text_proj.0.weight"].T  # (n, r)
    logits = (pair[None] * projected[:, None]) @ weights["classifier.0.weight"].T  # (n, 2, 1)
    return torch.sigmoid(logits[:, 0, 0] - logits[:, 1, 0]).numpy()


@pytest.mark.parametrize(
    ("strong", "weak"), [("gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1"), ("yi-34b-chat", "palm-2")]
)
def test_imported_router_scores_as_theirs(file, weights, strong, weak):
    embedder = HashEmbedder(D)
    router = MF.from_routellm(file, embedder, strong, weak)

    wanted = forward(weights, ROUTELLM_MODELS.index(strong), ROUTELLM_MODELS.index(weak), embedder.encode(PROMPTS))

    assert router.win_rate(PROMPTS) == pytest.approx(wanted, abs=1e-6)


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
        "extra": weights | {"Q.weight": torch.zeros(1)},
        "shape": weights | {"P.weight": torch.zeros(63, WIDTH)},
        "nan": weights | {"P.weight": torch.full((64, WIDTH), float("nan"))},
        "integers": weights | {"P.weight": torch.zeros(64, WIDTH, dtype=torch.int64)},
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
