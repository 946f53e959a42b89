"""The published rows: Ong et al., RouteLLM, ICLR 2025, arXiv:2406.18665v4. Strong gpt-4-1106, weak Mixtral-8x7B."""

from __future__ import annotations

__all__ = ["COST_SAVING", "FIGURES", "OTHER_PAIRS", "OVERHEAD", "SIMILARITY", "Figures"]

Figures = tuple[float, float, float]
"""CPT50 and CPT80 in percent, APGR."""

FIGURES: dict[str, dict[tuple[str, str], Figures]] = {
    "mt-bench": {
        ("random", "nothing"): (49.03, 78.08, 0.500),
        ("BERT", "D_arena"): (78.09, 87.64, 0.391),
        ("causal LLM", "D_arena"): (28.82, 77.53, 0.573),
        ("MF", "D_arena"): (25.32, 74.26, 0.580),
        ("SW", "D_arena"): (37.85, 58.99, 0.610),
        ("BERT", "D_arena + D_judge"): (19.58, 34.02, 0.751),
        ("causal LLM", "D_arena + D_judge"): (31.50, 48.75, 0.679),
        ("MF", "D_arena + D_judge"): (13.40, 31.31, 0.802),
        ("SW", "D_arena + D_judge"): (23.21, 36.04, 0.759),
    },
    "mmlu": {
        ("random", "nothing"): (50.07, 79.93, 0.500),
        ("BERT", "D_arena"): (49.43, 77.80, 0.502),
        ("causal LLM", "D_arena"): (48.88, 77.93, 0.499),
        ("MF", "D_arena"): (45.00, 76.86, 0.524),
        ("SW", "D_arena"): (55.82, 80.25, 0.473),
        ("BERT", "D_arena + D_gold"): (41.30, 72.20, 0.572),
        ("causal LLM", "D_arena + D_gold"): (35.49, 70.31, 0.600),
        ("MF", "D_arena + D_gold"): (35.46, 71.40, 0.597),
        ("SW", "D_arena + D_gold"): (35.40, 71.55, 0.603),
    },
    "gsm8k": {
        ("random", "nothing"): (50.00, 80.08, 0.497),
        ("BERT", "D_arena"): (58.78, 83.84, 0.438),
        ("causal LLM", "D_arena"): (56.09, 83.56, 0.461),
        ("MF", "D_arena"): (53.59, 85.24, 0.475),
        ("SW", "D_arena"): (54.43, 82.11, 0.475),
        ("BERT", "D_arena + D_judge"): (44.76, 79.09, 0.531),
        ("causal LLM", "D_arena + D_judge"): (33.64, 63.26, 0.622),
        ("MF", "D_arena + D_judge"): (38.82, 72.62, 0.565),
        ("SW", "D_arena + D_judge"): (41.21, 72.20, 0.568),
    },
}
"""Benchmark -> (router, training data) -> figures."""

OTHER_PAIRS: dict[str, dict[str, float]] = {
    "Claude 3 Opus / Sonnet": {"random": 0.493, "BERT": 0.682, "causal LLM": 0.656, "MF": 0.762, "SW": 0.772},
    "Llama 3.1 70B / 8B": {"random": 0.512, "BERT": 0.673, "causal LLM": 0.689, "MF": 0.738, "SW": 0.767},
}
"""APGR on MT-Bench, judged by GPT-4, of routers that were not retrained for the pair."""

SIMILARITY: dict[str, dict[str, float]] = {
    "mt-bench": {"D_arena": 0.6078, "D_arena + D_judge": 0.6525},
    "mmlu": {"D_arena": 0.4823, "D_arena + D_gold": 0.5678},
    "gsm8k": {"D_arena": 0.4926, "D_arena + D_judge": 0.5335},
}

COST_SAVING: dict[str, tuple[float, float]] = {"mt-bench": (3.66, 2.49), "mmlu": (1.41, 1.14), "gsm8k": (1.49, 1.27)}
"""The best router's saving at CPT50 and at CPT80."""

OVERHEAD: dict[str, tuple[str, float, float]] = {
    "SW": ("8 vCPU", 2.9, 39.26),
    "MF": ("one L4 GPU", 155, 3.32),
    "BERT": ("one L4 GPU", 70, 3.19),
    "causal LLM": ("one L4 GPU", 42, 5.23),
}
"""Router -> hardware, requests/s, USD per million requests."""
