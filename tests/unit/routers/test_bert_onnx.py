"""`bert_onnx`: a bert router exported to a graph, its checkpoint, serving without torch, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from prefroute.checkpoint import fingerprint, load, open_checkpoint, save_checkpoint
from prefroute.errors import CheckpointError, ConfigError, DataError, MissingExtraError, NotFittedError
from prefroute.routers import RouterState
from prefroute.routers.bert import Bert
from prefroute.routers.bert_onnx import BertOnnx
from prefroute.testing import tiny_outcomes

ROOT = Path(__file__).parents[3]
PROMPTS = ["prove a theorem", "", "write a poem", "a much longer prompt " * 30, "[SEP]", "a surrogate \ud800"]
WITHOUT_TORCH = "import sys; sys.modules.update(torch=None, transformers=None)\n"

pytestmark = pytest.mark.slow  # making the one graph that most of them share takes seconds


@pytest.fixture(scope="module")
def exported(tiny_bert_onnx):
    return load(tiny_bert_onnx)


@pytest.fixture(scope="module")
def source(tiny_bert):
    router = load(tiny_bert)
    assert isinstance(router, Bert)
    return router


@pytest.fixture
def without_torch():
    """Runs Python in a process where neither torch nor transformers can be imported; gives what it printed."""

    def run(code: str, *words: object) -> str:
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_TORCH + code, *map(str, words)],
            check=False,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, "CANARY": "sk-none"},
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    return run


COMMAND = "from prefroute.cli.app import main; main(sys.argv[1:])"


def test_graph_scores_like_the_router_that_it_was_made_of(exported, source):
    assert exported.win_rate(PROMPTS) == pytest.approx(source.win_rate(PROMPTS), abs=1e-5)


def test_what_the_command_says_is_what_the_checkpoints_are(tiny_bert, tiny_bert_onnx):
    said = json.loads(tiny_bert_onnx.with_suffix(".json").read_text())

    assert said["exported_from"] == open_checkpoint(tiny_bert).fingerprint
    assert said["fingerprint"] == open_checkpoint(tiny_bert_onnx).fingerprint
    assert 0 <= said["largest_difference"] < 1e-4


def test_all_that_the_source_kept_goes_along(tiny_bert, tiny_bert_onnx):
    before, after = open_checkpoint(tiny_bert), open_checkpoint(tiny_bert_onnx)

    assert after.policy == before.policy is not None
    assert all(np.array_equal(a, b) for a, b in zip(*(map_of(c.training) for c in (before, after)), strict=True))
    for key in ("strong", "weak", "training_data", "metrics", "licence"):
        assert after.manifest[key] == before.manifest[key], key
    assert (
        after.manifest["notes"]
        == f"Trained on made-up prompts.\n\nAn ONNX export of the bert router {before.fingerprint}."
    )


def map_of(training):
    return [array for _, array in sorted(training.to_arrays().items())]


def test_the_same_router_exported_again_is_the_same_checkpoint(source, exported):
    again, _ = BertOnnx.of(source)

    assert fingerprint(again) == fingerprint(exported)


def test_the_graph_says_nothing_of_the_machine_that_made_it(exported):
    graph = exported.state().arrays["model.onnx"].tobytes()

    assert str(ROOT).encode() not in graph
    assert b".py" not in graph


def test_several_threads_get_the_scores_that_one_gets(exported):
    prompts = [f"{prompt} {i}" for i in range(20) for prompt in PROMPTS]
    alone = exported.win_rate(prompts)

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(exported.win_rate, [prompts] * 16))

    assert all(scores == pytest.approx(alone, abs=1e-6) for scores in together)


def test_route_and_evaluate_need_no_torch(tiny_bert_onnx, source, without_torch):
    routed = without_torch(COMMAND, "route", "--router", tiny_bert_onnx, "--json", "-", "prove a theorem")
    table = ROOT / "docs" / "examples" / "outcomes.csv"
    measured = without_torch(COMMAND, "evaluate", tiny_bert_onnx, "--benchmark", table, "--json", "-")

    (line,) = routed.splitlines()
    assert json.loads(line)["win_rate"] == pytest.approx(source.win_rate(["prove a theorem"])[0], abs=1e-5)
    assert json.loads(line)["threshold"] == 0.6
    assert json.loads(measured)["results"][0]["router"] == str(tiny_bert_onnx)


def test_the_gateway_needs_no_torch(tiny_bert_onnx, source, tmp_path, without_torch):
    code = (
        "import asyncio, json, pathlib\n"
        "from tests.servers.gateway import in_process\n"
        "async def ask():\n"
        "    async with in_process(pathlib.Path(sys.argv[1]), 'http://127.0.0.1:9/v1') as gateway:\n"
        "        print(json.dumps((await gateway.post('/v1/route')).json))\n"
        "sys.path.insert(0, '')\n"
        "asyncio.run(ask())"
    )
    shutil.copytree(tiny_bert_onnx, tmp_path / "router")

    decision = json.loads(without_torch(code, tmp_path))

    assert decision["win_rate"] == pytest.approx(source.win_rate(["What is 2 + 2?"])[0], abs=1e-5)


def test_the_router_itself_needs_torch(tiny_bert, without_torch):
    with pytest.raises(AssertionError, match=r"The router `bert` needs the extra 'train'"):
        without_torch(COMMAND, "route", "--router", tiny_bert, "hi")


def test_fit_says_how_to_come_by_one():
    with pytest.raises(DataError, match=r"prefroute train bert .* and prefroute export onnx"):
        BertOnnx("big", "small").fit(tiny_outcomes())


def test_router_that_is_not_fitted_is_not_exported():
    with pytest.raises(NotFittedError):
        BertOnnx.of(Bert("big", "small"))


def test_graph_that_scores_otherwise_is_refused(source, exported, monkeypatch):
    monkeypatch.setattr("prefroute.routers._bert_graph.graph_of", lambda *_: exported.state().arrays["model.onnx"])
    monkeypatch.setattr(BertOnnx, "win_rate", lambda self, prompts: np.zeros(len(prompts)))

    with pytest.raises(ConfigError, match=r"scores .* away from the router, more than 0.0001"):
        BertOnnx.of(source)


def test_encoder_that_cannot_be_traced_is_refused(source, monkeypatch):
    def give_up(network, *_, **__):
        raise RuntimeError("secret of the network")

    monkeypatch.setattr("torch.onnx.export", give_up)

    with pytest.raises(ConfigError, match=r"^This encoder cannot be exported to ONNX \(RuntimeError\)\."):
        BertOnnx.of(source)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_bytes_that_are_no_graph_or_no_tokenizer_are_refused(exported, tmp_path, name):
    state = exported.state()
    broken = RouterState({**state.arrays, name: np.zeros(9, dtype=np.uint8)}, state.meta)
    monkey = BertOnnx("big", "small")
    monkey.reader_, monkey.session_, monkey.state_ = exported.reader_, exported.session_, broken
    save_checkpoint(monkey, tmp_path / "broken")

    with pytest.raises(CheckpointError, match=r"The checkpoint's graph cannot be opened .* Export the router again."):
        load(tmp_path / "broken")


def test_graph_that_was_changed_on_disk_is_refused(tiny_bert_onnx, tmp_path):
    folder = shutil.copytree(tiny_bert_onnx, tmp_path / "changed")
    content = bytearray((folder / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "weights.safetensors").write_bytes(content)

    with pytest.raises(CheckpointError, match=r"its SHA-256 is not the one in router.json"):
        load(folder)


def test_missing_runtime_names_the_extra(tiny_bert_onnx, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)

    with pytest.raises(MissingExtraError, match=r"The router `bert_onnx` needs the extra 'onnx'"):
        load(tiny_bert_onnx)


@pytest.mark.parametrize(("module", "extra"), [("torch", "train"), ("onnxscript.ir.passes.common", "onnx")])
def test_missing_exporter_names_the_extra(source, monkeypatch, module, extra):
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(MissingExtraError, match=f"ONNX export needs the extra '{extra}'"):
        BertOnnx.of(source)
