"""Measure the router in the package; write docs/shipped-router.json, the page, the diagram and the package's card."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from scripts.shipped.diagram import save_diagram
from scripts.shipped.held_out import BENCHMARKS, held_out
from scripts.shipped.page import card_metrics, card_notes, page
from scripts.shipped.probes import generalist_range, probed
from scripts.shipped.rivals import RIVALS
from scripts.shipped.transfer import transfer

from prefroute.checkpoint import fingerprint, open_checkpoint, save_checkpoint
from prefroute.cli.output import Bar, write_text
from prefroute.policy import Threshold
from prefroute.routers.experts import Experts
from prefroute.settings import data_dir

ROOT = Path(__file__).parents[2]
FIGURES, PAGE = (ROOT / "docs" / f"shipped-router.{ending}" for ending in ("json", "md"))
DIAGRAM = ROOT / "docs" / "img" / "reliability.svg"
DEFAULT = ROOT / "src" / "prefroute" / "default"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="python -m scripts.shipped", description=__doc__)
    parser.add_argument("--data", type=Path, default=data_dir(), help="the folder that holds routellm_benchmarks/")
    parser.add_argument("--write-only", action="store_true", help="page, diagram and card from the JSON as it is")
    args = parser.parse_args()
    if not args.write_only:
        if args.data is None:
            parser.error("--data DIR is missing: name the folder that holds routellm_benchmarks/.")
        write_text(FIGURES, json.dumps(measured(args.data), indent=1) + "\n")
    found = json.loads(FIGURES.read_text(encoding="utf-8"))
    write_text(PAGE, page(found, json.loads(RIVALS.read_text(encoding="utf-8"))))
    save_diagram(found["held_out"], DIAGRAM)
    write_card(DEFAULT, found)


def measured(data: Path) -> dict[str, Any]:
    """Every figure, JSON values."""
    checkpoint = open_checkpoint("default")
    router, policy = checkpoint.router, checkpoint.policy
    assert isinstance(router, Experts)
    assert isinstance(policy, Threshold)
    with Bar("Measuring") as bar:
        parts: list[dict[str, Any]] = []
        for name in BENCHMARKS:
            bar(len(parts), len(BENCHMARKS) + 1)
            parts.append(held_out(checkpoint, name, data))
        return {
            "schema": 1,
            "fingerprint": checkpoint.fingerprint,
            "thresholds": checkpoint.manifest["metrics"]["thresholds"],
            "training_data": checkpoint.manifest["training_data"],
            "default_threshold": policy.alpha,
            "held_out": parts,
            "generalist_range": generalist_range(router),
            "probes": probed(router, policy.alpha),
            "transfer": transfer(checkpoint, data),
        }


def write_card(folder: Path, found: dict[str, Any]) -> None:
    """Save the checkpoint again, the same weights, with what is known of them in its card.

    Raises:
        SystemExit: If the figures are those of other weights, or saving would change the weights.
    """
    kept = open_checkpoint(folder)
    if not kept.fingerprint == fingerprint(kept.router) == found["fingerprint"]:
        raise SystemExit(f"{FIGURES.name} is of router {found['fingerprint'][:12]}, not of what {folder} holds.")
    save_checkpoint(
        kept.router,
        folder,
        training=kept.training,
        training_data=kept.manifest["training_data"],
        metrics={"thresholds": found["thresholds"], **card_metrics(found)},
        policy=kept.policy,
        notes=card_notes(found),
        licence=kept.manifest["licence"],
    )


if __name__ == "__main__":
    main()
