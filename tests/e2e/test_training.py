"""A training as its owner sees it: what it says on the way, what it leaves behind, and how it survives trouble."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tests.e2e.conftest import EXAMPLES, Program

from prefroute.checkpoint import open_checkpoint

PAIR = ("--strong", "big", "--weak", "small")
MF = (*PAIR, "--param", "min_steps=100", "--param", "dim=8")
LOOK = re.compile(r"Training: step (\d+) of (\d+)  (?:train [\d.]+  )?held-out [\d.]+  best [\d.]+")
ON_ALL_ROWS = re.compile(r"Training: step (\d+) of (\d+)  train [\d.]+  on all rows")


def looks(said: str, pattern: re.Pattern[str] = LOOK) -> list[int]:
    """The steps whose losses were told."""
    return [int(found[1]) for line in said.splitlines() if (found := pattern.fullmatch(line))]


def with_little_disk(folder: Path, *words: object, blocks: int) -> subprocess.CompletedProcess[str]:
    """A run that may write no file of more than `blocks` KiB, as on a full disk."""
    line = f'ulimit -f {blocks}; exec "$@"'
    command = ["bash", "-c", line, "bash", sys.executable, "-m", "prefroute", *map(str, words)]
    return subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A folder with an `mf` router named mf, and the run that trained it."""
    folder = tmp_path_factory.mktemp("trained-mf")
    words = ("train", "mf", "--data", EXAMPLES / "outcomes.csv", *MF, "--out", "mf")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFROUTE_CACHE", str(folder / "cache"))  # a test has one of its own, a module has none
        return folder, Program(folder)(*words)


@pytest.mark.slow
@pytest.mark.long
def test_a_log_of_a_fine_tuning_holds_a_line_for_each_look_at_the_held_out_loss(run, outcomes, tiny_encoder):
    params = ("--param", f"base={tiny_encoder}", "--param", "steps=40")

    done = run("train", "bert", "--data", outcomes, *PAIR, *params, "--out", "bert", "--calibrate-share", "0.3")

    report = json.loads((run.folder / "bert-training" / "training.json").read_text())
    assert looks(done.stderr) == [entry["step"] for entry in report["history"]]
    assert f"was chosen on {report['n_held_out']} held-out prompts." in done.stdout


@pytest.mark.slow
def test_both_trainings_of_mf_say_how_far_they_are_in_at_most_twenty_one_lines_each(trained):
    _, done = trained

    first, second = looks(done.stderr), looks(done.stderr, ON_ALL_ROWS)
    assert len(done.stderr.splitlines()) == len(first) + len(second)
    assert first == sorted(first)
    assert 10 < len(first) <= 21
    assert second == sorted(second)
    assert 10 < len(second) <= 21


@pytest.mark.slow
def test_the_report_says_what_the_held_out_rows_say_and_that_they_were_chosen_on(trained):
    folder, done = trained

    report = json.loads((folder / "mf-training" / "training.json").read_text())
    rows = {row["router"]: row for row in report["evaluation"]}
    page = (folder / "mf-training" / "training.html").read_text()
    assert rows["mf"]["n"] == report["n_held_out"]
    assert rows["mf"]["protocol"] == "held-out"
    assert rows["mf"]["apgr_low"] < rows["mf"]["apgr"] < rows["mf"]["apgr_high"]
    assert {"random", "length"} < set(rows)
    assert f"On {rows['mf']['n']} held-out rows: APGR {rows['mf']['apgr']:.3f} [" in done.stdout
    assert "these rows also chose when training ended" in page
    assert "which learned from these rows too" in page
    assert f"{rows['mf']['cpt50']:.3f} [" in page


def test_a_threshold_that_was_chosen_on_training_prompts_is_called_that(run, outcomes):
    done = run("train", "knn", "--data", outcomes, *PAIR, "--out", "my knn", "--calibrate-share", "0.3")

    assert "was chosen on the training prompts; new ones are scored otherwise" in done.stdout
    assert "prefroute calibrate 'my knn' --prompts FILE --strong-share 0.3" in done.stdout


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_weights(run, outcomes, trained):
    command = [sys.executable, "-m", "prefroute", "train", "mf", "--data", outcomes, *MF, "--out", "mf"]

    with subprocess.Popen(command, cwd=run.folder, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if looks(line) and looks(line)[0] >= 40:
                process.kill()
                break

    assert process.returncode == -9
    assert not (run.folder / "mf").exists()
    again = run("train", "mf", "--data", outcomes, *MF, "--out", "mf")
    assert looks(again.stderr)[0] > 40
    assert open_checkpoint(run.folder / "mf").fingerprint == open_checkpoint(trained[0] / "mf").fingerprint
    assert not (run.folder / "mf.training").exists()


@pytest.mark.slow
@pytest.mark.long
def test_a_disk_that_fills_up_keeps_the_state_before_and_the_training_goes_on_from_it(run, outcomes):
    words = ("train", "mf", "--data", outcomes, *MF, "--out", "mf")
    state = run.folder / "mf.training"
    with subprocess.Popen(
        [sys.executable, "-m", "prefroute", *map(str, words)], cwd=run.folder, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if looks(line))
        process.kill()
    kept = state.read_bytes()

    full = with_little_disk(run.folder, *words, blocks=len(kept) // 1024 - 1)

    assert full.returncode == 2, full.stderr
    assert full.stderr.splitlines()[-1].startswith("prefroute: error: Could not save the state of the training to")
    assert state.read_bytes() == kept
    assert {path.name for path in run.folder.iterdir()} == {"mf.training"}
    run(*words)


def test_a_full_disk_leaves_no_half_of_a_checkpoint(run, outcomes):
    full = with_little_disk(run.folder, "train", "linear", "--data", outcomes, *PAIR, "--out", "linear", blocks=8)

    assert full.returncode == 2, full.stderr
    assert full.stderr.splitlines()[-1].startswith("prefroute: error: Could not write the checkpoint")
    assert list(run.folder.iterdir()) == []


@pytest.mark.slow
def test_weights_that_are_no_numbers_stop_a_training_in_one_line(run, outcomes, tiny_encoder):
    base = run.folder / "base"
    base.mkdir()
    for file in tiny_encoder.iterdir():
        (base / file.name).write_bytes(file.read_bytes())
    weights = load_file(base / "model.safetensors")
    weights["embeddings.LayerNorm.weight"] = np.full_like(weights["embeddings.LayerNorm.weight"], np.nan)
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    params = ("--param", f"base={base}", "--param", "probe=false", "--param", "steps=4")

    message = run.refused("train", "bert", "--data", outcomes, *PAIR, *params, "--out", "bert")

    assert message.startswith("The held-out loss became nan at step 0.")
    assert not (run.folder / "bert").exists()


@pytest.mark.slow
@pytest.mark.long
def test_under_torchrun_one_process_saves_and_speaks_and_the_router_is_that_of_one_process(run, outcomes, tiny_encoder):
    params = ("--param", f"base={tiny_encoder}", "--param", "steps=6", "--param", "lr=0.001")
    words = ("train", "bert", "--data", str(outcomes), *PAIR, *params)
    run(*words, "--out", "alone")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "prefroute"]

    done = subprocess.run(
        [*launch, *words, "--out", "shared"], check=False, cwd=run.folder, capture_output=True, text=True, timeout=300
    )

    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("Saved bert, from 240 rows, to shared") == 1
    assert looks(done.stderr) == [0, 1, 2, 3, 4, 5, 6]
    assert "destroy_process_group" not in done.stderr
    assert {path.name for path in run.folder.iterdir()} == {"alone", "alone-training", "shared", "shared-training"}
    prompts = ["hello there", "prove the theorem about primes"]
    alone, shared = (open_checkpoint(run.folder / name).router.win_rate(prompts) for name in ("alone", "shared"))
    assert shared == pytest.approx(alone, abs=0.02)  # dropout is drawn by each process


@pytest.mark.slow
def test_a_kind_that_trains_in_one_process_is_refused_under_torchrun(run, outcomes):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "prefroute"]
    words = ("train", "mf", "--data", str(outcomes), *MF, "--out", "mf")

    done = subprocess.run([*launch, *words], check=False, cwd=run.folder, capture_output=True, text=True, timeout=300)

    assert done.returncode != 0
    assert "mf trains in one process, torchrun started several. Run it without torchrun." in done.stderr
    assert list(run.folder.iterdir()) == []
