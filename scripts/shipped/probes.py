"""Prompts of our own words, to see what the shipped router says of text that is no benchmark's.

The doors are `probed` and `generalist_range`. Nothing was chosen, trained or tuned on these prompts.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scripts.shipped.held_out import novelty_of, rounded

from prefroute.routers.experts import Experts

__all__ = ["FAR", "PROBES", "generalist_range", "probed"]

_BYTES = bytes(range(256))

PROBES: Mapping[str, Sequence[str]] = {
    "everyday chat": (
        "Hi! How are you today?",
        "What is the capital of Kenya?",
        "Why is the sky blue?",
        "Write a short poem about autumn.",
        "Suggest three names for a small bakery by the sea.",
        "How do I get a coffee stain out of a white shirt?",
        "Plan a weekend in Lisbon for two people who like music.",
        "Explain to a ten-year-old what inflation is.",
        "Make this friendlier: 'Your request is incomplete. Send the missing form.'",
        "Summarise in one sentence: the meeting was moved to Friday because half of the team is travelling.",
        "My neighbour plays loud music at night. What should I say to her?",
        "Give me a quick dinner with eggs, spinach and rice.",
        "Translate 'Where is the station?' into Italian.",
        "Draft a short e-mail that asks my landlord to repair the heating.",
        "What should I read after my first book on astronomy?",
        "Which is better for a beginner, a guitar or a ukulele?",
    ),
    "short sums and proofs": (
        "What is 2 + 2?",
        "What is 17 * 23?",
        "A train travels 60 miles in 1.5 hours. What is its average speed?",
        "Prove that there are infinitely many primes.",
        "Solve x^2 - 5x + 6 = 0.",
        "I buy 3 pens at 1.20 each and pay with a 5 euro note. How much change do I get?",
    ),
    "questions about code": (
        "Write a Python function that returns the second largest distinct number of a list, or None.",
        "Why does my React component render twice in development?",
        "Write an SQL query for the ten customers who spent most last year.",
        "Explain the difference between a mutex and a semaphore.",
        "Rewrite this loop as a list comprehension:\nout = []\nfor x in xs:\n    if x > 0:\n        out.append(x * x)",
        "What does this regular expression match: ^\\d{4}-\\d{2}-\\d{2}$",
        "Write a Dockerfile for a small Flask application.",
        "My git push is rejected as non-fast-forward. What do I do?",
    ),
    "other languages": (
        "Bonjour madame, comment allez-vous ce matin, et que puis-je faire pour vous ?",
        "Wie lange dauert es morgen zu Fuß zum Bahnhof, und lohnt sich ein Fahrrad?",
        "¿Cuánto se tarda en ir andando a la estación mañana por la mañana?",
        "Сколько времени займёт дорога пешком до вокзала завтра утром?",
        "明日の朝、駅まで歩いて行くのにどれくらいかかりますか。",
        "明天早上走到车站需要多长时间？",  # noqa: RUF001 - Chinese
        "كم يستغرق المشي إلى المحطة صباح الغد؟",
        "कल सुबह स्टेशन तक पैदल जाने में कितना समय लगेगा?",
        "내일 아침 역까지 걸어가는 데 얼마나 걸릴까요?",
        "Kesho asubuhi inachukua muda gani kutembea hadi kituo cha treni?",
    ),
    "code in rare languages": (
        "life←{⊃1 ⍵=3 4+/,¯1 0 1∘.⊖¯1 0 1∘.⌽⊂⍵}",
        "IDENTIFICATION DIVISION.\nPROGRAM-ID. TOTALS.\nPROCEDURE DIVISION.\n    ADD A TO B GIVING C.",
        ": square ( n -- n ) dup * ; 7 square . cr",
        "++++++++[>++++[>++>+++>+++>+<<<<-]>+>+>->>+[<]<-]>>.>---.",
        "ancestor(X, Y) :- parent(X, Z), ancestor(Z, Y).\nparent(ann, bob).",
        "mov eax, 1\nmov ebx, 0\nint 0x80",
    ),
    "base64, hexadecimal, digits": (
        base64.b64encode(_BYTES).decode(),
        base64.b64encode(_BYTES[::-1] * 12).decode(),
        _BYTES[::3].hex(),
        "3141592653589793238462643383279502884197" * 12,
    ),
    "empty, blank, 100 KB": ("", " \n", "lorem ipsum dolor sit amet " * 3800),
}
"""Kind of text -> prompts."""

FAR = ("other languages", "code in rare languages", "base64, hexadecimal, digits", "empty, blank, 100 KB")
"""The kinds that nothing in training looks like: all of them should be called new and score near the prior."""


def probed(router: Experts, default: float) -> list[dict[str, Any]]:
    """For each kind of text: how much of it is called new, the range of its win rates, and where it goes.

    Args:
        router: The shipped router.
        default: The threshold that it is used with where none is given.
    """
    found = []
    for kind, prompts in PROBES.items():
        win_rate, novelty = router.scored(prompts)
        found.append(
            {
                "kind": kind,
                "n": len(prompts),
                **novelty_of(novelty),
                "win_rate": [rounded(float(end)) for end in (win_rate.min(), np.median(win_rate), win_rate.max())],
                "strong_share": rounded(float((win_rate >= default).mean())),
            }
        )
    return found


def generalist_range(router: Experts) -> list[float]:
    """The least and the greatest win rate that its generalist gives."""
    low, high, slope, intercept = router.generalist_
    ends = 1 / (1 + np.exp(slope * np.array([high, low]) - intercept))
    return [rounded(float(end)) for end in np.sort(ends)]
