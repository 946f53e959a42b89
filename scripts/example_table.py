"""Writes docs/examples/outcomes.csv and prompts.txt: made-up prompts and made-up outcomes that the documents run on.

    python scripts/example_table.py

Two pretended models: `big` is right nearly always; `small` is right on short everyday requests and often wrong where
a prompt asks for proofs, code or long arithmetic. Nothing about real models follows from it.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

EASY = (
    "What is the capital of {place}?",
    "Say good morning in the language of {place}.",
    "Name an animal that lives in {place}.",
    "Write a short greeting to a friend in {place}.",
    "List three dishes from {place}.",
)
HARD = (
    "Prove that the sum of the first {n} odd numbers is a square, and explain each step.",
    "Write a Python function that solves a {n} by {n} Sudoku, with tests.",
    "Compute {n} * {m} + {m} * {n} - {m} step by step, then check the result another way.",
    "A train leaves at {n} km/h and another follows at {m} km/h two hours later. Derive when they meet.",
    "Find the error in this recursive definition and repair it: f({n}) = f({m}) + f({n}).",
)
PLACES = (
    *("Portugal", "Kenya", "Japan", "Peru", "Norway", "India", "Egypt", "Canada", "Chile", "Greece", "Nepal", "Cuba"),
    *("Ghana", "Vietnam", "Poland", "Brazil", "Iceland", "Mexico", "Turkey", "Malta", "Fiji", "Oman", "Laos", "Spain"),
)


def rows(rng: np.random.Generator) -> list[tuple[str, float, float]]:
    """(prompt, quality of big, quality of small) for every example prompt, in random order."""
    made = [(template.format(place=place), 0.97, 0.93) for template in EASY for place in PLACES]
    for template in HARD:
        made += [(template.format(n=n, m=7 * n + 3), 0.9, 0.3) for n in range(3, 27)]
    drawn = [(prompt, float(rng.random() < big), float(rng.random() < small)) for prompt, big, small in made]
    return [drawn[i] for i in rng.permutation(len(drawn))]


def main() -> None:
    """Write both files."""
    folder = Path(__file__).parent.parent / "docs" / "examples"
    folder.mkdir(exist_ok=True)
    table = rows(np.random.default_rng(0))
    with (folder / "outcomes.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["prompt", "big", "small"])
        writer.writerows((prompt, f"{big:g}", f"{small:g}") for prompt, big, small in table)
    prompts = dict.fromkeys(prompt for prompt, _, _ in table[:60])
    (folder / "prompts.txt").write_text("\n".join(prompts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
