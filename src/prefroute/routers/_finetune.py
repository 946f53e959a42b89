"""What `bert` and `causal_llm` share: from labelled prompts to a fine-tuned network, and from a prompt to a win rate.

A subclass says what its network is, how a prompt becomes tokens, and what its labels mean. The training itself is the
project's one loop (`prefroute.train`).
"""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from prefroute.data import prompt_folds, win_examples
from prefroute.errors import CheckpointError, ConfigError
from prefroute.routers._folders import transformers_library
from prefroute.routers.base import RouterState, SteppedRouter, check_data, check_prompts
from prefroute.train.calibration import fit_temperature, softmax
from prefroute.train.progress import Progress
from prefroute.train.report import Calibration, HeldOut, TrainingReport
from prefroute.types import Battles, FloatArray, IndexArray, Mixture, Outcomes

__all__ = ["FineTuned", "Parts"]

_TOKENIZER = "tokenizer.json"
_CHECKS = 20  # looks at the held-out loss in a full training
_MOST_LOOKED_AT = 300  # held-out prompts in each; the report and the temperature are of them all
_PATIENCE = 10  # the rate falls until the end and the loss with it: half of a training tells whether it will not
_PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True, slots=True)
class Parts:
    """A network with what it takes to feed it.

    Attributes:
        network: A torch module: (input_ids, attention_mask) -> logits, shape (b, k).
        reader: Prompts -> token ids.
        tokenizer: The text of its `tokenizer.json`.
        meta: What makes both again, JSON values.
        kept: Names of the tensors that a checkpoint keeps; None for all.
    """

    network: Any
    reader: Callable[[Sequence[str]], list[list[int]]]
    tokenizer: str
    meta: dict[str, Any]
    kept: list[str] | None = None


class FineTuned(SteppedRouter):
    """A router that is a fine-tuned transformer with a few labels.

    Attributes:
        left: Whether padding stands on the left.
        n_labels: Labels, k.
        strong_share: What each label adds to P(strong preferred), k values in [0, 1].
    """

    shares_steps: ClassVar[bool] = True
    left: ClassVar[bool]
    learns_from = (Battles, Outcomes, Mixture)
    n_labels: ClassVar[int]
    strong_share: ClassVar[tuple[float, ...]]

    steps: int
    batch_size: int
    accumulate: int
    lr: float
    weight_decay: float
    max_tokens: int
    held_out_share: float
    precision: str
    seed: int

    @abstractmethod
    def _open(self) -> Parts:
        """The network before training, from the base; torch's generator is seeded."""

    @abstractmethod
    def _reopen(self, tokenizer: str, meta: Mapping[str, Any]) -> Parts:
        """The network that a checkpoint describes; its kept tensors are put in later."""

    @abstractmethod
    def _targets(self, win: FloatArray) -> FloatArray:
        """Label distributions of win rates, shape (n, k): `targets @ strong_share` is `win` again."""

    def fit(
        self,
        data: Battles | Outcomes | Mixture,
        *,
        resume: Path | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Learn from the rows that compare the pair; a fit that fails leaves the router as it was.

        Under torchrun every process calls this with the same data; all end with the same weights, so one saves them.

        Args:
            data: Battles, outcomes, or a mixture, whose rows count in every loss by their weights: twice the weight,
                twice the pull, and all weights times a number change nothing.
            resume: A file that keeps the state of the training; where it exists, the training goes on from there. The
                caller removes it once the router is saved.
            progress: Told of every step, and of the losses where they are taken.

        Raises:
            CheckpointError: If `resume` cannot be written, or is the state of another training.
            ConfigError: If a parameter is out of its range, or the base cannot be opened.
            DataError: If no row compares the two, every label is the same, there are too few distinct prompts to hold
                some out, or the loss is not a number.
            MissingExtraError: If the extra `train` is not installed.
        """
        check_data(self, data)
        self._check_parameters()
        examples = win_examples(data, self.strong, self.weak)
        folds = max(2, round(1 / self.held_out_share))
        held = prompt_folds(examples.prompts, folds, self.seed) == 0  # (n,)
        targets = self._targets(examples.win)  # (n, k)
        weight = examples.weight / examples.weight[~held].mean()  # as many steps and the same rate as without weights
        parts, history = self._train(examples.prompts, targets, weight, held, resume, progress)
        held_prompts = [p for p, out in zip(examples.prompts, held, strict=True) if out]
        logits = self._logits(parts, held_prompts)
        temperature = fit_temperature(logits, targets[held], weight[held])
        self.parts_, self.temperature_ = parts, temperature
        before, after = (softmax(logits / t) @ np.array(self.strong_share) for t in (1.0, temperature))
        self.held_out_ = HeldOut(held_prompts, after, examples.win[held])
        self.training_ = TrainingReport(
            kind=self.kind,
            params=self.params(),
            n_train=int((~held).sum()),
            n_held_out=int(held.sum()),
            history=history,
            calibration=Calibration.of(before, after, examples.win[held], temperature),
        )
        return self

    def win_rate(self, prompts: Sequence[str]) -> FloatArray:
        """P(strong preferred to weak | prompt), in [0, 1], shape (n,)."""
        self._require("parts_")
        check_prompts(prompts)
        shares = softmax(self._logits(self.parts_, prompts) / self.temperature_)  # (n, k)
        # the sum of shares may pass 1 by one rounding
        rates: FloatArray = np.minimum(shares @ np.array(self.strong_share), 1.0)
        return rates

    def state(self) -> RouterState:
        """The network's tensors (with adapters: theirs and the label rows alone), the tokenizer, the configuration."""
        self._require("parts_")
        from prefroute.routers._networks import arrays_of

        arrays = arrays_of(self.parts_.network, self.parts_.kept)
        arrays[_TOKENIZER] = np.frombuffer(self.parts_.tokenizer.encode(), dtype=np.uint8)
        return RouterState(arrays, self.parts_.meta | {"temperature": self.temperature_})

    def restore(self, state: RouterState) -> Self:
        """Become the router that `state` was taken from; adapters ask for their base again."""
        transformers_library(self.kind)
        from prefroute.routers._networks import device, load_arrays

        arrays = dict(state.arrays)
        meta = {name: value for name, value in state.meta.items() if name != "temperature"}
        tokenizer = arrays.pop(_TOKENIZER).tobytes().decode()
        parts = self._reopen(tokenizer, meta)
        load_arrays(parts.network, arrays, partly=parts.kept is not None)
        if parts.kept is not None and set(parts.kept) != set(arrays):
            raise CheckpointError("The checkpoint's adapters do not fit the base's layers. Train again.")
        parts.network.to(device())
        self.parts_, self.temperature_, self.training_ = parts, float(state.meta["temperature"]), None
        self.held_out_ = None
        return self

    def _train(
        self,
        prompts: Sequence[str],
        targets: FloatArray,
        weight: FloatArray,
        held: npt.NDArray[np.bool_],
        resume: Path | None,
        progress: Progress | None,
    ) -> tuple[Parts, list[dict[str, Any]]]:
        """The network trained on the rows that are not held out, and its losses."""
        transformers_library(self.kind)
        from prefroute.routers import _networks
        from prefroute.train.loop import LoopPlan, fit_loop, warmup_then_linear
        from prefroute.train.processes import join_processes

        join_processes()
        with _networks.seeded(self.seed):
            parts = self._open()
        place = _networks.device()
        parts.network.to(place)
        half = self.precision == "bfloat16" or (self.precision == "auto" and place.type == "cuda")
        rows = parts.reader(prompts)
        objective = _networks.Objective(parts.network, rows, targets, weight, left=self.left, half=half)
        learned, kept = np.flatnonzero(~held), np.flatnonzero(held)
        looked_at = np.random.default_rng(self.seed).permutation(kept)[:_MOST_LOOKED_AT]
        looked_at.sort()
        if resume is None or not resume.exists():
            self._start(parts.network, prompts, rows, targets * weight[:, None], learned)
        plan = LoopPlan(
            steps=self.steps,
            batch_size=self.batch_size,
            check_every=max(1, self.steps // _CHECKS),
            patience=_PATIENCE,
            accumulate=self.accumulate,
            max_grad_norm=1.0,
            check_start=True,
            seed=self.seed,
        )
        history = fit_loop(
            parts.network,
            _networks.adamw(parts.network, self.lr, self.weight_decay),
            lambda rows: objective.loss(learned[rows]),
            lambda: objective.held_out_loss(looked_at),
            len(learned),
            plan,
            rate=warmup_then_linear(self.steps),
            resume=resume,
            identity=self._identity(prompts, targets * weight[:, None], parts.meta["base_sha256"]),
            progress=progress,
        )
        return parts, history

    def _start(
        self,
        network: Any,
        prompts: Sequence[str],
        rows: Sequence[Sequence[int]],
        targets: FloatArray,
        learned: IndexArray,
    ) -> None:
        """Put the network where a training begins; as it is, unless a kind knows better.

        Args:
            network: On its device.
            prompts: All of them.
            rows: Their token ids.
            targets: Their label distributions, each times its weight, shape (n, k).
            learned: Which of them are not held out.
        """

    def _identity(self, prompts: Sequence[str], targets: FloatArray, base_sha256: str) -> str:
        """SHA-256 over everything that the trained weights depend on."""
        settings = [self.kind, self.params(), base_sha256, list(prompts)]
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        digest.update(np.ascontiguousarray(targets).data)
        return digest.hexdigest()

    def _logits(self, parts: Parts, prompts: Sequence[str]) -> npt.NDArray[np.float64]:
        from prefroute.routers._networks import logits_of

        return logits_of(parts.network, parts.reader(prompts), self.n_labels, left=self.left)

    def _check_parameters(self) -> None:
        whole = {"steps": self.steps, "batch_size": self.batch_size, "accumulate": self.accumulate}
        for name, value in whole.items():
            if not (isinstance(value, int) and value >= 1):
                raise ConfigError(f"`{name}` must be a whole number, 1 or more, got {value!r}.")
        if self.accumulate > self.batch_size:
            raise ConfigError(f"`accumulate` must be at most `batch_size` = {self.batch_size}, got {self.accumulate}.")
        if not 0 < self.lr < 1:
            raise ConfigError(f"`lr` must be above 0 and below 1, got {self.lr!r}.")
        if not 0 <= self.weight_decay < 1:
            raise ConfigError(f"`weight_decay` must be 0 or more and below 1, got {self.weight_decay!r}.")
        if not 0 < self.held_out_share <= 0.5:
            raise ConfigError(f"`held_out_share` must be above 0 and at most 0.5, got {self.held_out_share!r}.")
        if self.precision not in _PRECISIONS:
            raise ConfigError(f"`precision` must be one of {', '.join(_PRECISIONS)}, got {self.precision!r}.")
