"""What the held-out rows of a training say of the router that was made from the others.

The door is `evaluate_held_out`. The rows stopped the training, so that their figures are for its report, not for a
comparison of routers: for that, score the checkpoint on questions that nothing was chosen on (`evaluate`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prefroute.benchmarks import Benchmark
from prefroute.evaluate.rows import Row
from prefroute.evaluate.run import report_of
from prefroute.evaluate.scoring import Scored
from prefroute.train.report import HeldOut
from prefroute.types import FloatArray, Outcomes

__all__ = ["evaluate_held_out", "questions_of_wins"]

_CHOSEN_ON = "these rows also chose when training ended, and the temperature: on new prompts it does a little worse"
_LEARNED_LATER = "scored before the last training, which learned from these rows too"


def evaluate_held_out(
    name: str, held_out: HeldOut, strong: str, weak: str, *, seed: int = 0, n_boot: int = 2000
) -> list[Row]:
    """The rows of `evaluate` for a router's held-out scores, beside random, length and the bounds.

    Args:
        name: What the report calls the router.
        held_out: Its held-out rows.
        strong: The strong model.
        weak: The weak model.
        seed: Of the resamples.
        n_boot: Resamples of rows behind each interval.

    Raises:
        DataError: If the strong model does not win more often than the weak one there.

    Example:
        >>> held_out = HeldOut(["2+2?", "Prove it."], np.array([0.2, 0.8]), np.array([0.5, 1.0]))
        >>> evaluate_held_out("mine", held_out, "big", "small", n_boot=10)[0]["cpt80"]
        0.4
    """
    questions = questions_of_wins("held-out rows", held_out.prompts, held_out.win, strong, weak)
    warnings = [_CHOSEN_ON, *([_LEARNED_LATER] if held_out.is_learned_later else [])]
    scored = Scored(np.arange(len(questions)), 0, None, {name: held_out.win_rate}, warnings={name: warnings})
    return list(report_of(scored, questions, "held-out", seed=seed, n_boot=n_boot).rows)


def questions_of_wins(name: str, prompts: Sequence[str], win: FloatArray, strong: str, weak: str) -> Benchmark:
    """A benchmark of wins, shape (n,): the quality of each of the pair is how often it wins; APGR is the same."""
    table = Outcomes(prompts, (strong, weak), np.column_stack([win, 1 - win]))
    return Benchmark(name, table, strong, weak, "held out", "as its owner says")
