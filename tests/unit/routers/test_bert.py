"""`bert`: three labels, a real fine-tuning in small, the checkpoint, and what is refused."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from prefroute.checkpoint import fingerprint, load, save_checkpoint
from prefroute.errors import CheckpointError, ConfigError, DataError, MissingExtraError
from prefroute.routers.bert import Bert
from prefroute.testing import tiny_outcomes
from prefroute.types import Battles, Outcomes

HARD = [f"prove the theorem number {i} about primes" for i in range(40)]
EASY = [f"hello, how are you today, friend {i}?" for i in range(40)]


def separable():
    """The strong model wins every proof, and every greeting is a tie."""
    quality = np.array([[1.0, 0.0]] * len(HARD) + [[1.0, 1.0]] * len(EASY))
    return Outcomes([*HARD, *EASY], ("big", "small"), quality)


def bert(folder, **params):
    return Bert("big", "small", base=str(folder), **({"steps": 3} | params))


@pytest.fixture(scope="module")
def learned(tiny_encoder):
    return bert(tiny_encoder, steps=60, lr=3e-3, pooling="mean").fit(separable())


def test_labels_are_strong_tie_weak_and_soft_ones_lie_between(tiny_encoder):
    targets = bert(tiny_encoder)._targets(np.array([1.0, 0.75, 0.5, 0.1, 0.0]))

    expected = [[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0.2, 0.8], [0, 0, 1]]
    assert targets == pytest.approx(np.array(expected))


def test_win_rate_of_a_label_distribution_is_the_win_rate_it_came_from(tiny_encoder):
    win = np.linspace(0, 1, 21)

    assert bert(tiny_encoder)._targets(win) @ np.array(Bert.strong_share) == pytest.approx(win)


def test_learns_what_tells_prompts_apart(learned):
    hard, easy = learned.win_rate(HARD), learned.win_rate(EASY)

    assert hard.min() > easy.max()
    assert (hard.mean(), easy.mean()) == pytest.approx((1.0, 0.5), abs=0.2)


def test_report_holds_losses_and_held_out_calibration(learned):
    report = learned.training_

    assert report.n_train + report.n_held_out == 80
    assert report.n_held_out == 8  # a tenth of 80 distinct prompts
    losses = [entry["held_out_loss"] for entry in report.history if entry.get("held_out_loss") is not None]
    assert losses[-1] < losses[0]
    assert report.calibration.temperature == learned.temperature_
    assert report.calibration.brier_after < report.calibration.brier_prior


def test_looks_while_training_are_at_few_held_out_prompts_and_the_report_is_of_all(tiny_encoder, monkeypatch):
    from prefroute.routers import _networks

    look, sizes = _networks.Objective.held_out_loss, set()

    def counted(objective, rows):
        sizes.add(len(set(rows.tolist())))
        return look(objective, rows)

    monkeypatch.setattr("prefroute.routers._finetune._MOST_LOOKED_AT", 5)
    monkeypatch.setattr(_networks.Objective, "held_out_loss", counted)

    report = bert(tiny_encoder).fit(separable()).training_

    assert sizes == {5}
    assert report.calibration.n == report.n_held_out == 8


def test_another_seed_gives_another_router(tiny_encoder):
    data = tiny_outcomes()

    first, second = (bert(tiny_encoder, seed=seed).fit(data).win_rate(["fix a bug"]) for seed in (0, 1))

    assert first != second


def test_torch_generator_of_the_caller_is_left_alone(tiny_encoder):
    import torch

    before = torch.get_rng_state()
    bert(tiny_encoder).fit(tiny_outcomes())

    assert torch.equal(torch.get_rng_state(), before)


def test_splitting_the_batch_does_not_change_the_result(tiny_encoder, tmp_path):
    folder = shutil.copytree(tiny_encoder, tmp_path / "without-dropout")
    config = json.loads((folder / "config.json").read_text())
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config | dropout))
    data = separable()
    prompts = [*HARD[:3], *EASY[:3]]

    whole, split = (bert(folder, steps=4, lr=1e-3, accumulate=n).fit(data).win_rate(prompts) for n in (1, 4))

    assert split == pytest.approx(whole, abs=1e-4)


def test_special_tokens_written_in_a_prompt_are_text(learned):
    assert learned.parts_.reader(["[SEP]"])[0][1:-1] == learned.parts_.reader(["x[SEP]"])[0][2:-1]


def test_prompt_is_cut_to_the_tokens_that_the_model_reads(learned):
    (ids,) = learned.parts_.reader(["word " * 10_000])

    assert len(ids) == 128  # the tiny model has 128 positions


def test_loaded_router_opens_no_base(learned, tiny_encoder, tmp_path, monkeypatch):
    save_checkpoint(learned, tmp_path / "router")
    monkeypatch.setattr("prefroute.routers.bert.open_base", lambda *_, **__: pytest.fail("the base was opened"))

    loaded = load(tmp_path / "router")

    assert np.array_equal(loaded.win_rate(HARD[:3]), learned.win_rate(HARD[:3]))
    assert isinstance(loaded, Bert)
    assert loaded.training_ is None


def test_tensors_of_another_network_are_refused(learned, tmp_path):
    from prefroute.routers import RouterState

    state = learned.state()
    arrays = {name: array for name, array in state.arrays.items() if name != "head.bias"}

    with pytest.raises(ValueError, match=r"do not fit the network"):
        bert("unused", pooling="mean").restore(RouterState(arrays, state.meta))


def test_interrupted_training_resumes_to_the_same_weights(tiny_encoder, tmp_path):
    data, state = separable(), tmp_path / "state"
    uninterrupted = bert(tiny_encoder, steps=20).fit(data)

    def stop(done, most, look):
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bert(tiny_encoder, steps=20).fit(data, resume=state, progress=stop)
    steps = []
    resumed = bert(tiny_encoder, steps=20).fit(data, resume=state, progress=lambda done, most, look: steps.append(done))

    assert steps[0] == 8
    assert fingerprint(resumed) == fingerprint(uninterrupted)


TORCHRUN = """
import sys
import torch
from prefroute.checkpoint import fingerprint
from prefroute.routers.bert import Bert
from prefroute.testing import tiny_outcomes

router = Bert("big", "small", base=sys.argv[1], steps=3).fit(tiny_outcomes())
with open(f"{sys.argv[2]}/{torch.distributed.get_rank()}", "w") as file:
    file.write(fingerprint(router))
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_under_torchrun_end_in_the_same_weights(tiny_encoder, tmp_path):
    script, out = tmp_path / "train.py", tmp_path / "out"
    script.write_text(TORCHRUN)
    out.mkdir()
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]

    subprocess.run([*launch, str(script), str(tiny_encoder), str(out)], check=True, capture_output=True, timeout=300)

    assert sorted(path.name for path in out.iterdir()) == ["0", "1"]
    assert (out / "0").read_text() == (out / "1").read_text()


def test_groups_of_like_length_hold_each_row_once_and_little_padding():
    from prefroute.routers._networks import _of_like_length

    lengths = np.random.default_rng(0).integers(1, 300, size=64)
    rows = [[1] * int(length) for length in lengths]
    chosen = np.arange(0, 64, 2)

    groups = _of_like_length(rows, chosen)

    assert sorted(np.concatenate(groups).tolist()) == chosen.tolist()
    assert all(lengths[group].sum() >= 0.8 * len(group) * lengths[group].max() for group in groups)


def test_loss_is_the_mean_over_rows_whatever_their_length(learned):
    import torch

    from prefroute.routers._networks import Objective, pad

    rows = learned.parts_.reader(["short", "a text that is rather long, " * 3, "medium sized"])
    targets = learned._targets(np.array([1.0, 0.5, 0.0]))
    network = learned.parts_.network

    with torch.no_grad():
        grouped = Objective(network, rows, targets, np.ones(3), left=False, half=False).loss(np.array([0, 1, 2]))
        plain = torch.nn.functional.cross_entropy(network(*pad(rows, left=False)), torch.from_numpy(targets).float())

    assert float(grouped) == pytest.approx(float(plain), abs=1e-6)


def test_state_of_a_training_on_other_data_is_refused(tiny_encoder, tmp_path):
    bert(tiny_encoder).fit(separable(), resume=tmp_path / "state")

    with pytest.raises(CheckpointError, match=r"state of a training with other data or settings"):
        bert(tiny_encoder).fit(tiny_outcomes(), resume=tmp_path / "state")


def test_frozen_layers_stay_as_they_were_and_the_others_learn(tiny_encoder):
    import transformers

    before = transformers.AutoModel.from_pretrained(tiny_encoder).state_dict()

    after = bert(tiny_encoder, frozen_layers=1, lr=1e-3, probe=False).fit(separable()).parts_.network.body.state_dict()

    same = {name: bool((before[name] == tensor).all()) for name, tensor in after.items()}
    assert all(same[name] for name in same if name.startswith(("embeddings.", "encoder.layer.0.")))
    assert not any(same[name] for name in same if name.startswith("encoder.layer.1.") and "key.bias" not in name)


def test_frozen_layers_have_no_dropout(tiny_encoder):
    body = bert(tiny_encoder, frozen_layers=1).fit(tiny_outcomes()).parts_.network.body

    dropout = {name: part.p for name, part in body.named_modules() if name.endswith("dropout")}
    assert {p for name, p in dropout.items() if not name.startswith("encoder.layer.1.")} == {0.0}
    assert {p for name, p in dropout.items() if name.startswith("encoder.layer.1.")} == {0.1}


def test_biases_and_norms_do_not_decay(learned):
    from prefroute.routers._networks import adamw

    network = learned.parts_.network
    groups = adamw(network, 1e-5, 0.1).param_groups
    found = {id(parameter): (group["lr"], group["weight_decay"]) for group in groups for parameter in group["params"]}

    assert len(found) == len(list(network.parameters()))
    assert {found[id(p)] for p in network.parameters() if p.ndim > 1} == {(1e-5, 0.1)}
    assert {found[id(p)] for p in network.parameters() if p.ndim == 1} == {(1e-5, 0.0)}


def test_the_head_starts_where_the_untouched_encoder_already_tells_prompts_apart(tiny_encoder):
    started = bert(tiny_encoder, steps=1, lr=1e-9).fit(separable())
    at_random = bert(tiny_encoder, steps=1, lr=1e-9, probe=False).fit(separable())

    first, second = (router.training_.history[0]["held_out_loss"] for router in (started, at_random))
    assert first < second
    assert started.win_rate(HARD).min() > started.win_rate(EASY).max()


def test_a_probe_of_noise_says_the_mean_to_everything():
    from prefroute.routers._probe import fit_probe

    rng = np.random.default_rng(0)
    features, targets = rng.normal(size=(300, 200)), np.eye(3)[rng.integers(0, 3, 300)]

    weights, bias = fit_probe(features, targets, np.arange(300) % 5)

    shares = np.exp(bias) / np.exp(bias).sum()
    assert shares == pytest.approx(targets.mean(axis=0), abs=0.02)
    assert np.abs(features @ weights.T).max() < 0.3  # without a penalty: above 3


def test_a_probe_takes_features_of_any_scale_and_place():
    from prefroute.routers._probe import fit_probe

    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 5))
    targets = np.eye(2)[(features[:, 0] > 0).astype(int)]
    fold = np.arange(200) % 5

    weights, bias = fit_probe(features, targets, fold)
    others = fit_probe(1000 * features + 7, targets, fold)

    assert (1000 * features + 7) @ others[0].T + others[1] == pytest.approx(features @ weights.T + bias, abs=1e-3)
    assert ((features @ weights.T + bias).argmax(axis=1) == targets.argmax(axis=1)).mean() > 0.95


def test_labels_that_never_differ_are_refused(tiny_encoder):
    data = Battles.of(HARD[:4], ["big"] * 4, ["small"] * 4, [0.5] * 4)

    with pytest.raises(DataError, match=r"All 4 labels of 'big' against 'small' are 0.5"):
        bert(tiny_encoder).fit(data)


def test_one_prompt_cannot_be_split(tiny_encoder):
    data = Battles.of(["hi"] * 4, ["big"] * 4, ["small"] * 4, [0.0, 1.0, 1.0, 0.5])

    with pytest.raises(DataError, match=r"distinct prompts, got 1"):
        bert(tiny_encoder).fit(data)


def test_loss_that_is_not_a_number_stops_and_leaves_the_router_as_it_was(tiny_encoder):
    from prefroute.routers._networks import Objective

    data = tiny_outcomes()
    router = bert(tiny_encoder).fit(data)
    before = router.win_rate(["fix a bug"])

    real = Objective.loss
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Objective, "loss", lambda self, chosen: real(self, chosen) * float("nan"))
        with pytest.raises(DataError, match=r"The training loss became nan at step 1"):
            router.fit(data)

    assert np.array_equal(router.win_rate(["fix a bug"]), before)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"pooling": "max"}, "`pooling` must be cls or mean, got 'max'"),
        ({"steps": 0}, "`steps` must be a whole number, 1 or more, got 0"),
        ({"accumulate": 99}, "`accumulate` must be at most `batch_size` = 16, got 99"),
        ({"lr": 0.0}, "`lr` must be above 0 and below 1, got 0.0"),
        ({"frozen_layers": -1}, "`frozen_layers` must be a whole number, 0 or more, got -1"),
        ({"frozen_layers": 2}, "`frozen_layers` must leave one of the base's 2 layers to train, got 2"),
        ({"weight_decay": 1.0}, "`weight_decay` must be 0 or more and below 1, got 1.0"),
        ({"held_out_share": 0.6}, "`held_out_share` must be above 0 and at most 0.5, got 0.6"),
        ({"precision": "int8"}, "`precision` must be one of auto, float32, bfloat16, got 'int8'"),
        ({"max_tokens": 2}, "`max_tokens` must be at least 8, got 2"),
    ],
)
def test_parameter_out_of_range_is_refused(tiny_encoder, params, message):
    with pytest.raises(ConfigError, match=message):
        bert(tiny_encoder, **params).fit(tiny_outcomes())


def test_folder_without_safetensors_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')

    with pytest.raises(ConfigError, match=r"holds weights that are not \*.safetensors, or none"):
        bert(tmp_path).fit(tiny_outcomes())


def test_folder_that_holds_no_model_is_refused(tmp_path):
    from safetensors.numpy import save_file

    save_file({"x": np.zeros(1)}, tmp_path / "model.safetensors")

    with pytest.raises(ConfigError, match=r"`base` of bert must be an encoder that transformers can open"):
        bert(tmp_path).fit(tiny_outcomes())


def test_word_that_names_no_model_is_refused():
    with pytest.raises(ConfigError, match=r"Unknown model 'minilmm'. Did you mean 'minilm'\?"):
        bert("minilmm").fit(tiny_outcomes())


def test_missing_extra_is_named(tiny_encoder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)

    with pytest.raises(MissingExtraError, match=r"The router `bert` needs the extra 'train'"):
        bert(tiny_encoder).fit(tiny_outcomes())
