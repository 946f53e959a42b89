"""Augmentation room: more battles, from graded answers (`gold_battles`) or from a judge model (`judge`).

Nobody votes on most prompts. Outcomes that were graded against right answers become battles as they are; for the rest
two models answer and a third compares, over any OpenAI-compatible endpoint, with every call on disk and a bound in
dollars. The room makes tables; it must not train on them. Its async parts stay behind plain functions.
"""

from __future__ import annotations

from prefroute.augment.gold import Gold, GoldGroup, gold_battles
from prefroute.augment.judge import estimate, judge
from prefroute.augment.plan import ChatModel, Estimate, JudgePlan
from prefroute.augment.report import Judged

__all__ = [
    "ChatModel",
    "Estimate",
    "Gold",
    "GoldGroup",
    "JudgePlan",
    "Judged",
    "estimate",
    "gold_battles",
    "judge",
]
