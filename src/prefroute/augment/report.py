"""What came out of a judge run: the battles, and how far the judge can be trusted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from prefroute.augment.calls import Calls
from prefroute.augment.plan import JudgePlan
from prefroute.augment.verdict import GOOD_ENOUGH
from prefroute.augment.wording import WORDING
from prefroute.types import Battles, FloatArray

__all__ = ["Judged", "Verdict", "make_judged"]

Fate = Literal["judged", "unparsable", "empty", "refused", "failed", "left"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one prompt.

    Attributes:
        fate: "judged"; "unparsable" where a verdict could not be read; "empty" where an answer was; "refused" where an
            endpoint refused the call; "failed" where it failed for another reason; "left" where the run ended before.
        readings: What the judge said, None where it could not be read. Pairwise: preference for the strong answer,
            1, 0.5 or 0, with the strong answer first, then second. Reference: the score 1-5.
    """

    fate: Fate
    readings: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """The result of a judge run.

    Attributes:
        battles: One for each judged prompt, strong against weak.
        columns: More columns of the same rows: `strong_when_first` and `strong_when_second`, or `score`.
        report: Counts, shares, tokens and dollars, ready for JSON.
        is_complete: Whether every prompt met its fate; if not, the same run goes on from here.
        stopped_by: Why the run ended early: "max_usd"; None where it did not.
    """

    battles: Battles
    columns: Mapping[str, FloatArray]
    report: Mapping[str, Any]
    is_complete: bool
    stopped_by: str | None


def make_judged(plan: JudgePlan, verdicts: Sequence[Verdict], calls: Calls, stopped_by: str | None) -> Judged:
    """The result from what became of each of the plan's questions."""
    rows = [i for i, verdict in enumerate(verdicts) if verdict.fate == "judged"]
    values = np.array([verdicts[i].readings for i in rows], dtype=np.float64).reshape(len(rows), _n_readings(plan))
    if plan.mode == "pairwise":
        outcome = values.mean(axis=1)
        columns = {"strong_when_first": values[:, 0], "strong_when_second": values[:, 1]}
    else:
        outcome = (values[:, 0] < GOOD_ENOUGH).astype(np.float64)
        columns = {"score": values[:, 0]}
    n = len(rows)
    battles = Battles(
        prompts=[plan.questions[i].prompt for i in rows],
        models=(plan.strong.name, plan.weak.name),
        model_a=np.zeros(n, dtype=np.int32),
        model_b=np.ones(n, dtype=np.int32),
        outcome=outcome,
    )
    fates = Counter(verdict.fate for verdict in verdicts)
    is_complete = not fates["failed"] and not fates["left"]
    report = {
        "schema": 1,
        "mode": plan.mode,
        "wording": WORDING,
        "strong": plan.strong.name,
        "weak": plan.weak.name,
        "judge": plan.judge.name,
        "is_complete": is_complete,
        "stopped_by": stopped_by,
        "n_prompts": len(plan.questions),
        "n_left_out": plan.n_left_out,
        **{f"n_{fate}": fates[fate] for fate in ("judged", "unparsable", "empty", "refused", "failed", "left")},
        **_agreement(plan, verdicts, outcome),
        **_spend(calls),
    }
    return Judged(battles, columns, report, is_complete, stopped_by)


def _n_readings(plan: JudgePlan) -> int:
    return 2 if plan.mode == "pairwise" else 1


def _agreement(plan: JudgePlan, verdicts: Sequence[Verdict], outcome: FloatArray) -> dict[str, Any]:
    """How the judge behaved; a share of nothing is None.

    `agreement_share`: judged prompts with the same preference in both orders. `position_bias`: verdicts for the answer
    shown first less those for the second, as a share of the readable ones: 0 where the order does not matter, in
    [-1, 1]. `tie_share`: battles with outcome 0.5. `unparsable_share`: of all verdicts that were given.
    """
    given = [reading for verdict in verdicts for reading in verdict.readings]
    said: dict[str, Any] = {
        "n_verdicts": len(given),
        "unparsable_share": _mean([reading is None for reading in given]),
        "tie_share": _mean((outcome == 0.5).tolist()),
        "mean_outcome": _mean(outcome.tolist()),
    }
    if plan.mode == "reference":
        scores = Counter(int(reading) for reading in given if reading is not None)
        return {**said, "n_by_score": {str(score): scores[score] for score in range(1, 6)}}
    pairs = [verdict.readings for verdict in verdicts if verdict.fate == "judged"]
    for_first = [
        (reading - 0.5) * (2 if place == 0 else -2)
        for verdict in verdicts
        for place, reading in enumerate(verdict.readings)
        if reading is not None
    ]
    return {
        **said,
        "agreement_share": _mean([first == second for first, second in pairs]),
        "position_bias": _mean(for_first),
    }


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _spend(calls: Calls) -> dict[str, Any]:
    kinds = ("answer", "judge")
    return {
        "n_sent": {kind: calls.n_sent[kind] for kind in kinds},
        "n_on_disk": {kind: calls.n_on_disk[kind] for kind in kinds},
        "n_cut": {kind: calls.n_cut[kind] for kind in kinds},
        "tokens_in": calls.tokens["in"],
        "tokens_out": calls.tokens["out"],
        "usd_spent": calls.ledger.usd,
        "usd_maybe_billed": calls.ledger.usd_lost,
    }
