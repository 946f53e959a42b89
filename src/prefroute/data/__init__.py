"""Data room: public sets by name, tables in and out, splits, ratings and tiers, contamination and similarity.

Knows prompts and labels, not vectors' origin: embedding is another room. DuckDB is imported only when a table is read
or written.
"""

from __future__ import annotations

from prefroute.data.bradley_terry import bradley_terry, solve_ratings, win_matrix
from prefroute.data.concatenate import concatenate
from prefroute.data.contamination import Contamination, PromptKeys, contamination
from prefroute.data.fetch import Fetched, fetch
from prefroute.data.load import inspect, load, read_columns
from prefroute.data.pairs import WinExamples, pooled, win_examples
from prefroute.data.phrases import PhraseLift, leaning_phrases
from prefroute.data.prompt_file import batches, read_prompts
from prefroute.data.public import PUBLIC_SETS, PublicSet
from prefroute.data.report import LoadReport
from prefroute.data.similarity import set_similarity
from prefroute.data.split import prompt_folds, split_by_hash
from prefroute.data.tiers import assign_tiers, tier_classes
from prefroute.data.write import write_table

__all__ = [
    "PUBLIC_SETS",
    "Contamination",
    "Fetched",
    "LoadReport",
    "PhraseLift",
    "PromptKeys",
    "PublicSet",
    "WinExamples",
    "assign_tiers",
    "batches",
    "bradley_terry",
    "concatenate",
    "contamination",
    "fetch",
    "inspect",
    "leaning_phrases",
    "load",
    "pooled",
    "prompt_folds",
    "read_columns",
    "read_prompts",
    "set_similarity",
    "solve_ratings",
    "split_by_hash",
    "tier_classes",
    "win_examples",
    "win_matrix",
    "write_table",
]
