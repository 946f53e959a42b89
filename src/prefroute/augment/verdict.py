"""What a judge's answer says: read from its last line, or not at all. Nothing is ever guessed."""

from __future__ import annotations

import re

__all__ = ["GOOD_ENOUGH", "read_preference", "read_score"]

GOOD_ENOUGH = 4
"""The lowest score 1-5 at which the weak answer counts as good enough.

Source: Ong et al. 2024, arXiv:2406.18665, sec. 4.1 (data augmentation: scores 4 and 5).
"""

# signs that chat models put around a line without meaning anything by them
_DECORATION = " \t*_`#>\"'"
_VERDICT = re.compile(r"verdict\W{1,4}(a|b|tie)\W{0,3}", re.IGNORECASE)
_SCORE = re.compile(r"score\W{1,4}([1-5])(?:\s*/\s*5)?\W{0,3}", re.IGNORECASE)
_PREFERENCE = {"a": 1.0, "b": 0.0, "tie": 0.5}


def read_preference(text: str) -> float | None:
    r"""1 where the judge prefers answer A, 0 where B, 0.5 for a tie; None where the last line is no verdict.

    Example:
        >>> read_preference("B forgets the unit.\nVERDICT: A"), read_preference("I prefer A, I think.")
        (1.0, None)
    """
    found = _VERDICT.fullmatch(_last_line(text))
    return _PREFERENCE[found[1].lower()] if found else None


def read_score(text: str) -> int | None:
    r"""The score 1-5; None where the last line is no score.

    Example:
        >>> read_score("Misses a step.\n**SCORE: 3**"), read_score("SCORE: 7"), read_score("SCORE: 4 or 5")
        (3, None, None)
    """
    found = _SCORE.fullmatch(_last_line(text))
    return int(found[1]) if found else None


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip(_DECORATION) if lines else ""
