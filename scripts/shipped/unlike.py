"""What the page and the card say of text that is unlike the training data. The door is `unlike`."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from scripts.shipped.held_out import NEW
from scripts.shipped.markdown import TITLES, table
from scripts.shipped.probes import FAR

__all__ = ["unlike"]


def unlike(found: Mapping[str, Any]) -> str:
    """How much of each kind of text is called new, and where that goes."""
    known = [
        [f"{TITLES[part['benchmark']]}, held out", f"{part['n']:,}", *_new(part["new"]), "", ""]
        for part in found["held_out"]
    ]
    own = [
        [
            probe["kind"],
            str(probe["n"]),
            *_new(probe),
            "{0:.3f} to {2:.3f}".format(*probe["win_rate"]),
            f"{probe['strong_share']:.0%}",
        ]
        for probe in found["probes"]
    ]
    prior = fmean(entry["mean_win_rate"] for entry in found["training_data"])
    low, high = found["generalist_range"]
    far = [probe for probe in found["probes"] if probe["kind"] in FAR]
    ends = min(probe["win_rate"][0] for probe in far), max(probe["win_rate"][2] for probe in far)
    chat = next(part for part in found["held_out"] if part["benchmark"] == "mt-bench")
    default = found["default_threshold"]
    return (
        f"`prefroute route` and the gateway call a prompt new where its `novelty` is above {NEW}: by the gate's word "
        "it is then more likely from no source than from any, and its score mostly that of the generalist, which knows "
        f"nothing but difficulty and stays between {low:.3f} and {high:.3f}. **Most everyday chat is new to it**, and "
        f"so is {chat['new']['new_share']:.0%} of MT-Bench, on which it still routes well. The lower rows are short "
        "lists of our own words (`scripts/shipped/probes.py`); nothing was tuned on them.\n\n"
        + table([["text", "n", "called new", "median novelty", "win rate", "to strong by default"], *known, *own])
        + f"\n\nThe *prior*, the mean win rate of the sources, is {prior:.3f}. Text in other languages, rare code, "
        f"base64, nothing at all and 100 KB score {ends[0]:.3f} to {ends[1]:.3f}: near it and not at an end of the "
        f"scale, but not on it, since the generalist reads difficulty even into base64. The default threshold, "
        f"{default:.3f}, lies so near the prior that such text goes either way (last column): where that matters, set "
        "a threshold of your own."
    )


def _new(values: Mapping[str, float]) -> list[str]:
    return [f"{values['new_share']:.0%}", f"{values['median']:.2f}"]
