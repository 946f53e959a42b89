"""Evaluation: routers on a benchmark, with intervals, baselines and provenance.

The door is `evaluate`, which takes entrants (`Fitted` checkpoints or `Kind`s to train), a benchmark and a protocol,
and returns a `Report`. It never tunes anything: kinds and their hyper-parameters are fixed before it is called.
`leave_one_out` says what each source of a mixture adds, `evaluate_held_out` what a training's own held-out rows say.
"""

from __future__ import annotations

from prefroute.evaluate.held_out import evaluate_held_out
from prefroute.evaluate.leave_one_out import SourceEffects, effects_table, leave_one_out
from prefroute.evaluate.protocols import AsIs, Folds, Gold, Protocol, TrainOn
from prefroute.evaluate.result import Report, figure, table
from prefroute.evaluate.run import evaluate
from prefroute.evaluate.scoring import Entrant, Fitted, Kind

__all__ = [
    "AsIs",
    "Entrant",
    "Fitted",
    "Folds",
    "Gold",
    "Kind",
    "Protocol",
    "Report",
    "SourceEffects",
    "TrainOn",
    "effects_table",
    "evaluate",
    "evaluate_held_out",
    "figure",
    "leave_one_out",
    "table",
]
