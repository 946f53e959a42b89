"""The training loop: batches, stopping, resuming, and what stops it."""

import numpy as np
import pytest
import torch

from prefroute.errors import CheckpointError, ConfigError, DataError
from prefroute.train.loop import LoopPlan, fit_loop

X = torch.linspace(-1, 1, 20)[:, None]
Y = (2 * X + 1)[:, 0]
PLAN = LoopPlan(steps=60, batch_size=8, check_every=10, patience=3)


class Task:
    """A line fitted to 20 points, with noise that torch's generator draws."""

    def __init__(self, lr=0.05, noise=0.01):
        self.module = torch.nn.Linear(1, 1)
        with torch.no_grad():
            self.module.weight.fill_(0.0)
            self.module.bias.fill_(0.0)
        self.optimizer = torch.optim.Adam(self.module.parameters(), lr=lr)
        self.noise = noise
        self.seen = []
        self.loss = self._loss  # tests replace these two
        self.held_out_loss = self._held_out_loss

    def _loss(self, rows):
        self.seen.append(np.array(rows))
        noisy = X[rows] + self.noise * torch.randn(len(rows), 1)
        return ((self.module(noisy)[:, 0] - Y[rows]) ** 2).mean()

    def _held_out_loss(self):
        return float(((self.module(X)[:, 0] - Y) ** 2).mean())

    def run(self, plan=PLAN, **options):
        return fit_loop(self.module, self.optimizer, self.loss, self.held_out_loss, len(X), plan, **options)

    def weights(self):
        return [parameter.detach().clone() for parameter in self.module.parameters()]


def equal(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_history_has_one_entry_for_each_check():
    history = Task().run()

    assert [entry["step"] for entry in history] == [10, 20, 30, 40, 50, 60]
    assert history[-1]["held_out_loss"] < history[0]["held_out_loss"]


def test_progress_tells_every_step_and_the_losses_of_each_check():
    told = []
    plan = LoopPlan(steps=20, batch_size=8, check_every=10, patience=3, check_start=True)

    history = Task().run(plan, progress=lambda *step: told.append(step))

    assert [(done, most) for done, most, _ in told] == [(step, 20) for step in range(21)]
    seen = {done: look for done, _, look in told if look is not None}
    assert [
        {"step": step, "train_loss": look.train_loss, "held_out_loss": look.held_out_loss}
        for step, look in seen.items()
    ] == history
    assert seen[20].best_loss == min(entry["held_out_loss"] for entry in history)


def test_every_row_comes_once_before_any_comes_again():
    task = Task()

    task.run(LoopPlan(steps=3, batch_size=8, check_every=3, patience=1))

    assert sorted(np.concatenate(task.seen).tolist()) == list(range(20))


def test_same_seed_gives_the_same_weights_whatever_was_drawn_before():
    first, second = Task(), Task()
    first.run()
    torch.rand(7)
    second.run()

    assert equal(first.weights(), second.weights())


def test_torch_generator_is_left_as_it_was():
    task = Task()
    before = torch.random.get_rng_state()

    task.run()

    assert torch.equal(torch.random.get_rng_state(), before)


def test_best_weights_are_kept_and_training_stops_after_patience_checks():
    task = Task()
    losses = iter([3.0, 1.0, 2.0, 2.0, 2.0, 2.0])
    best = []
    task.held_out_loss = lambda: next(losses)

    def remember(done, most, look):
        if done == 20:
            best.extend(task.weights())

    history = task.run(progress=remember)

    assert [entry["step"] for entry in history] == [10, 20, 30, 40, 50]  # 3 checks without a better one
    assert equal(task.weights(), best)


def test_weights_that_training_begins_with_may_be_the_best():
    task = Task(lr=100.0)
    before = task.weights()

    history = task.run(LoopPlan(steps=30, batch_size=8, check_every=10, patience=3, check_start=True))

    assert [entry["step"] for entry in history] == [0, 10, 20, 30]
    assert history[0]["train_loss"] is None
    assert equal(task.weights(), before)


def test_accumulated_parts_make_the_same_step():
    whole, parts = Task(noise=0.0), Task(noise=0.0)
    whole.run()
    parts.run(LoopPlan(steps=60, batch_size=8, check_every=10, patience=3, accumulate=3))

    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(whole.weights(), parts.weights(), strict=True))


@pytest.mark.parametrize("killed_at", [20, 35])
def test_killed_and_resumed_training_ends_in_the_same_weights(tmp_path, killed_at):
    def kill(done, most, look):
        if done == killed_at:
            raise KeyboardInterrupt

    uninterrupted, killed, resumed = Task(), Task(), Task()
    wanted = uninterrupted.run()
    with pytest.raises(KeyboardInterrupt):
        killed.run(resume=tmp_path / "state", progress=kill)

    history = resumed.run(resume=tmp_path / "state")

    assert equal(resumed.weights(), uninterrupted.weights())
    assert history == wanted


def test_finished_training_is_not_repeated(tmp_path):
    task = Task()
    task.run(resume=tmp_path / "state")
    again = Task()

    again.run(resume=tmp_path / "state")

    assert again.seen == []
    assert equal(again.weights(), task.weights())


def test_state_of_another_training_is_refused(tmp_path):
    Task().run(resume=tmp_path / "state", identity="one")

    with pytest.raises(CheckpointError, match="other data or settings"):
        Task().run(resume=tmp_path / "state", identity="another")


@pytest.mark.parametrize("content", [b"", b"\x80\x04 a pickle", b"\xff" * 64])
def test_broken_state_is_refused(tmp_path, content):
    (tmp_path / "state").write_bytes(content)

    with pytest.raises(CheckpointError, match="not the sound state"):
        Task().run(resume=tmp_path / "state")


def test_training_loss_that_is_no_number_stops_and_keeps_the_last_state(tmp_path):
    task = Task()
    task.run(LoopPlan(steps=10, batch_size=8, check_every=10, patience=3), resume=tmp_path / "state")
    kept = (tmp_path / "state").read_bytes()
    broken = Task()
    broken.loss = lambda rows: broken.module.weight.sum() * float("nan")

    with pytest.raises(DataError, match="training loss became nan at step 11"):
        broken.run(resume=tmp_path / "state")

    assert (tmp_path / "state").read_bytes() == kept


def test_held_out_loss_that_is_no_number_stops():
    task = Task()
    task.held_out_loss = lambda: float("inf")

    with pytest.raises(DataError, match="held-out loss became inf at step 10"):
        task.run()


def test_running_out_of_memory_says_what_to_lower():
    task = Task()

    def greedy(rows):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")

    task.loss = greedy

    with pytest.raises(ConfigError, match="batch_size"):
        task.run()


def test_another_runtime_error_passes_unchanged():
    task = Task()

    def broken(rows):
        raise RuntimeError("shapes do not fit")

    task.loss = broken

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        task.run()


def test_full_disk_keeps_the_state_before(tmp_path, monkeypatch):
    path = tmp_path / "state"
    Task().run(LoopPlan(steps=10, batch_size=8, check_every=10, patience=3), resume=path)
    kept = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)

    with pytest.raises(CheckpointError, match="No space left"):
        Task().run(resume=path)

    assert path.read_bytes() == kept
    assert [file.name for file in tmp_path.iterdir()] == ["state"]


def test_learning_rate_follows_its_factor_and_is_put_back():
    task = Task(lr=0.4)
    rates = []
    plan = LoopPlan(steps=3, batch_size=8, check_every=3, patience=1)

    task.run(
        plan, rate=lambda step: 1 / (step + 1), progress=lambda *_: rates.append(task.optimizer.param_groups[0]["lr"])
    )

    assert rates == pytest.approx([0.4, 0.2, 0.4 / 3])
    assert task.optimizer.param_groups[0]["lr"] == 0.4
