"""The model card of a checkpoint: what it is, what it was made from, what is known of it, and what it cannot do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["model_card"]


def model_card(manifest: Mapping[str, Any], folder: str) -> str:
    """Markdown for the README of a checkpoint, made from its manifest.

    Args:
        manifest: The content of `router.json`.
        folder: Name of the checkpoint's folder, for the example.
    """
    embedder = manifest["embedder"]
    metrics = dict(manifest["metrics"])
    thresholds = metrics.pop("thresholds") if _is_table(metrics.get("thresholds")) else {}
    parts = [
        f"# {manifest['kind']} router: {manifest['strong']} or {manifest['weak']}",
        f"Scores a prompt with the probability that the answer of `{manifest['strong']}` is preferred to that of "
        f"`{manifest['weak']}`, ties counted half. Made by prefroute {manifest['prefroute']}.",
        manifest["notes"],
        "## Router",
        _table([("kind", manifest["kind"]), *manifest["params"].items(), ("fingerprint", manifest["fingerprint"])]),
        f"Embedder: `{embedder['id']}` ({embedder['dim']} dimensions), opened as `{embedder['spec']}`."
        if embedder
        else "It uses no embedder.",
        "## Training data",
        _training(manifest["training_data"]),
        "## Metrics",
        _table(list(metrics.items())) if metrics else "None were recorded when it was saved.",
        _thresholds(thresholds) if thresholds else "",
        "## Limits",
        "A router knows prompts like those it was trained on, answered by the models it was trained on. Far from them "
        "its scores mean little: evaluate it on your own prompts before you rely on it, and calibrate its threshold "
        "there. A score is not a certificate of an answer's quality.",
        "## Licence",
        manifest["licence"] or "None was stated when it was saved. The licences of the training data apply.",
        "## How to load it",
        f'```python\nimport prefroute\n\nrouter = prefroute.load("{folder}")\n'
        'print(router.win_rate(["What is 2 + 2?"]))\n```',
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _is_table(value: Any) -> bool:
    """Whether it can be shown as shares and thresholds; metrics are whatever the caller gave."""
    return isinstance(value, Mapping) and all(isinstance(alpha, float) for alpha in value.values())


def _thresholds(thresholds: Mapping[str, float]) -> str:
    rows = [f"| {float(share):.0%} | {alpha:.4f} |" for share, alpha in thresholds.items()]
    said = "The win rate above which a share of the training prompts lies, every source counting the same. Your own "
    said += "traffic is another mix: calibrate on it where you can."
    return "\n".join(["## Thresholds", "", said, "", "| strong calls | threshold |", "|---|---|", *rows])


def _table(rows: list[tuple[str, Any]]) -> str:
    lines = [f"| {name} | {_cell(value)} |" for name, value in rows]
    return "\n".join(["| name | value |", "|---|---|", *lines])


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text.replace("|", "\\|").replace("\n", " ")


def _training(sources: list[Mapping[str, Any]]) -> str:
    if not sources:
        return "Not recorded when it was saved."
    return "\n".join(
        "- " + ", ".join(f"{name}: {_cell(value)}" for name, value in sorted(source.items(), key=_name_first))
        for source in sources
    )


def _name_first(item: tuple[str, Any]) -> tuple[bool, str]:
    return item[0] != "name", item[0]
