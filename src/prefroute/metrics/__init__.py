"""Metrics of routing: pure functions of qualities, costs and scores, checked against brute force.

The door is this file. Metrics know curves and numbers; they know no router, no benchmark and no file.
"""

from __future__ import annotations

from prefroute.metrics.bootstrap import SHARES, Bootstrap, Interval, PairOutcomes, bootstrap, interval, resample_counts
from prefroute.metrics.pair import apgr, call_share, cost_apgr, cpt, mean_chosen, oracle_curve, pgr
from prefroute.metrics.pool import aiq, envelope

__all__ = [
    "SHARES",
    "Bootstrap",
    "Interval",
    "PairOutcomes",
    "aiq",
    "apgr",
    "bootstrap",
    "call_share",
    "cost_apgr",
    "cpt",
    "envelope",
    "interval",
    "mean_chosen",
    "oracle_curve",
    "pgr",
    "resample_counts",
]
