"""RouteLLM's similarity-weighted router on given battles and vectors; run by sw_ranking.py in RouteLLM's environment.

Runs `SWRankingRouter` of the installed package as it is. What it loads from a hub or asks from a service comes from
the file instead: battles and their vectors through `datasets.load_dataset`, a query's vector through the OpenAI
client. Modules of the package's other routers (torch and so on) are not imported. The tiers are ours, so that ratings
of the same tiers are compared. Imports nothing of prefroute.
"""

import importlib.metadata
import json
import sys
import time
import warnings
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import sklearn.linear_model  # noqa: F401 - before the stand-ins below, which it would take for the real modules

ABSENT = {
    "torch": (),
    "transformers": ("AutoModelForSequenceClassification", "AutoTokenizer"),
    "huggingface_hub": ("hf_hub_download",),
    "routellm.routers.causal_llm.configs": ("RouterModelConfig",),
    "routellm.routers.causal_llm.llm_utils": ("load_prompt_format", "to_openai_api_messages"),
    "routellm.routers.causal_llm.model": ("CausalLLMClassifier",),
    "routellm.routers.matrix_factorization.model": ("MODEL_IDS", "MFModel"),
}


def put_module(name: str, **content: object) -> None:
    """Let `import name` find these attributes."""
    module = ModuleType(name)
    vars(module).update(content)
    sys.modules[name] = module


def main() -> None:
    """Print seconds, win rates and ratings of each query as JSON."""
    warnings.simplefilter("ignore")  # scikit-learn's advice on penalty=None, once a query
    given = np.load(sys.argv[1])
    n = len(given["outcome"])
    vectors = given["vectors"].astype(np.float64)  # what np.array makes of the package's own lists
    frame = pd.DataFrame(
        {
            "prompt": [json.dumps([f"a synthetic prompt, number {i}"]) for i in range(n)],
            "model_a": given["models"][given["model_a"]],
            "model_b": given["models"][given["model_b"]],
            "winner_model_a": (given["outcome"] == 1).astype(int),
            "winner_model_b": (given["outcome"] == 0).astype(int),
        }
    )
    table = SimpleNamespace(to_pandas=lambda: frame, to_dict=lambda: {"embeddings": vectors[:n]})
    next_vector = iter(vectors[n:])

    def create(**_: object) -> SimpleNamespace:
        return SimpleNamespace(data=[SimpleNamespace(embedding=next(next_vector))])

    client = SimpleNamespace(embeddings=SimpleNamespace(create=create))
    put_module("openai", OpenAI=lambda: client)
    put_module("datasets", load_dataset=lambda *_, **__: table, concatenate_datasets=lambda tables: tables[0])
    for name, attributes in ABSENT.items():
        put_module(name, **dict.fromkeys(attributes))
    from routellm.routers import routers

    for name in ABSENT:
        del sys.modules[name]
    strong, weak = given["pair"].tolist()
    router = routers.SWRankingRouter(["battles"], ["vectors"], strong_model=strong, weak_model=weak)
    router.model2tier = dict(zip(given["models"].tolist(), given["tier"].tolist(), strict=True))
    router.arena_df["model_a"] = given["tier"][given["model_a"]]
    router.arena_df["model_b"] = given["tier"][given["model_b"]]
    ratings, original = [], routers.compute_elo_mle_with_tie

    def remembering(*args: object, **kwargs: object) -> pd.Series:
        ratings.append(original(*args, **kwargs))
        return ratings[-1]

    routers.compute_elo_mle_with_tie = remembering
    seconds, win_rates = [], []
    for _ in range(len(vectors) - n):
        start = time.perf_counter()
        win_rates.append(float(router.calculate_strong_win_rate("")))
        seconds.append(time.perf_counter() - start)
    print(
        json.dumps(
            {
                "routellm": importlib.metadata.version("routellm"),
                "sklearn": importlib.metadata.version("scikit-learn"),
                "seconds": seconds,
                "win_rate": win_rates,
                "elo": [series.sort_index().tolist() for series in ratings],
            }
        )
    )


if __name__ == "__main__":
    main()
