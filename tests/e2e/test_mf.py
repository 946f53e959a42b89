"""`train mf`, `add-model`, `import routellm-mf` and router names, as a user runs them."""

import json

import numpy as np
from safetensors.numpy import save_file

from prefroute.checkpoint import open_checkpoint
from prefroute.data import contamination, load

TRAIN = ("--strong", "big", "--weak", "small", "--param", "min_steps=50")


def test_model_is_added_to_a_trained_router(run, outcomes):
    rows = outcomes.read_text(encoding="utf-8").splitlines()
    newcomer = [rows[0].replace("small", "poet"), *rows[1:61]]
    (run.folder / "new.csv").write_text("\n".join(newcomer) + "\n", encoding="utf-8")
    run("train", "mf", "--data", outcomes, *TRAIN, "--out", "mf")

    done = run("add-model", "mf", "--name", "poet", "--data", "new.csv", "--out", "mf-2", "--json", "-")

    result = json.loads(done.stdout)
    assert result["n"] == 60
    assert result["observed"]["interval"][0] <= result["observed"]["value"] <= result["observed"]["interval"][1]
    models = json.loads((run.folder / "mf-2" / "router.json").read_text(encoding="utf-8"))["models"]
    assert models == ["big", "small", "poet"]


def test_a_grown_checkpoint_knows_the_prompts_that_the_new_model_was_fitted_on(run, outcomes):
    head, *rows = outcomes.read_text(encoding="utf-8").splitlines()
    (run.folder / "old.csv").write_text("\n".join([head, *rows[:120]]) + "\n", encoding="utf-8")
    unanswered = [f"{row.rpartition(',')[0]}," for row in rows[180:]]
    newcomer = [head.replace("small", "poet"), *rows[120:180], *unanswered]
    (run.folder / "new.csv").write_text("\n".join(newcomer) + "\n", encoding="utf-8")
    run("train", "mf", "--data", "old.csv", *TRAIN, "--out", "mf")

    run("add-model", "mf", "--name", "poet", "--data", "new.csv", "--out", "mf-2")

    keys = open_checkpoint(run.folder / "mf-2").training
    assert keys is not None
    seen = contamination(load(outcomes).prompts, keys).exact
    assert seen.tolist() == [True] * 180 + [False] * 60
    sources = json.loads((run.folder / "mf-2" / "router.json").read_text(encoding="utf-8"))["training_data"]
    assert [source["name"] for source in sources] == ["old.csv", "new.csv"]


def test_router_of_another_kind_takes_no_new_model(run, outcomes):
    message = run.refused("add-model", "default", "--name", "poet", "--data", outcomes, "--out", "mf-2")

    assert "only an mf router" in message


def test_routellm_weights_become_a_checkpoint_that_a_name_with_threshold_opens(run):
    rng = np.random.default_rng(0)
    shapes = {"P.weight": (64, 8), "text_proj.0.weight": (8, 128), "classifier.0.weight": (1, 8)}
    weights = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    save_file(weights, run.folder / "model.safetensors")

    run("import", "routellm-mf", "model.safetensors", "--out", "mf", "--embedder", "static")
    done = run("route", "--router", "router-mf-0.11593", "--json", "-", "hello")

    assert json.loads(done.stdout)["threshold"] == 0.11593


def test_pickled_weights_are_refused_unopened(run):
    (run.folder / "mf.pt").write_bytes(b"\x80\x04cos\nsystem\n")

    message = run.refused("import", "routellm-mf", "mf.pt", "--out", "mf", "--embedder", "static")

    assert "not opened" in message
