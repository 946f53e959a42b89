"""Whether questions were already in the training data: by text, by question stem, by shared n-grams, by embedding.

`PromptKeys` is what a checkpoint keeps of its training prompts: hashes, never the text. The same question in another
format is the same question, so the whole prompt's hash is not enough.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from prefroute.data.similarity import nearest_cosine
from prefroute.errors import DataError
from prefroute.prompts import prompt_hash

__all__ = ["NGRAM_SHARE", "Contamination", "PromptKeys", "contamination", "question_stem"]

KeyArray = npt.NDArray[np.uint64]

NGRAM_SHARE = 0.5
"""A question is contaminated when at least this share of its sampled n-grams was in the training data."""

_SAMPLED = 16  # one n-gram in 16 is kept
_LONG, _SHORT = 13, 8  # words of an n-gram; prompts under 13 words use 8, under 8 the whole text

# A line begins with one of these. Possessive, and from the first white space on, so that no text takes long.
_NEW_LINE = r"(?<!\s)[^\S\n]*+\n\s*+"
_OPTIONS = re.compile(_NEW_LINE + r"(?:\(?A[.):]|Options:|Answer Choices:|Choices:)\s*+\S", re.IGNORECASE)
_SHOT = re.compile(_NEW_LINE + r"(?:question|q|problem)\s*+\d*+\s*+:\s*+", re.IGNORECASE)
_LEAD = re.compile(r"^\s*+(?:question|q|problem|query|user)\s*+\d*+\s*+[:.]\s*+", re.IGNORECASE)
_WORD = re.compile(r"\w+")


def question_stem(prompt: str) -> str:
    r"""The question alone: the text before its multiple-choice options, lower case, letters and digits only.

    A leading "Question:" goes, and of few-shot text only the last question is kept.

    Example:
        >>> question_stem("Question: What is 2 + 2?\nA. 3\nB. 4\nAnswer:")
        'what is 2 2'
        >>> question_stem("what is 2+2?")
        'what is 2 2'
    """
    ends = [shot.end() for shot in _SHOT.finditer(prompt)]
    last = prompt[ends[-1] :] if ends and prompt[ends[-1] :].strip() else prompt
    options = _OPTIONS.search(last)
    stem = last[: options.start()] if options and last[: options.start()].strip() else last
    return " ".join(_words(_LEAD.sub("", stem)))


@dataclass(frozen=True, slots=True, eq=False)
class PromptKeys:
    """What is remembered of training prompts: sorted distinct 64-bit hashes, never the text.

    Attributes:
        prompt: First 8 bytes of the prompt hashes (`prefroute.prompts.prompt_hash`).
        stem: Hashes of the question stems.
        ngrams: Hashes of sampled word n-grams.
    """

    prompt: KeyArray
    stem: KeyArray
    ngrams: KeyArray

    @classmethod
    def of(cls, prompts: Iterable[str]) -> PromptKeys:
        """The keys of these prompts; empty prompts leave none.

        Example:
            >>> keys = PromptKeys.of(["What is 2 + 2?", "what is  2 + 2?"])
            >>> len(keys)
            1
        """
        whole: set[int] = set()
        stems: set[int] = set()
        ngrams: set[int] = set()
        for prompt in prompts:
            if not prompt.strip():
                continue
            whole.add(_prompt_key(prompt))
            stems.add(_hash(question_stem(prompt)))
            ngrams.update(_sampled_ngrams(prompt))
        return cls(_sorted(whole), _sorted(stems), _sorted(ngrams))

    @classmethod
    def from_hashes(cls, hashes: Iterable[str]) -> PromptKeys:
        """Keys that know whole prompts only, from `prompt_hash` values (an embedder's `trained_on`)."""
        return cls(_sorted({int(digest[:16], 16) for digest in hashes}), _sorted(()), _sorted(()))

    @classmethod
    def merge(cls, parts: Iterable[PromptKeys]) -> PromptKeys:
        """The union of several sets of keys; empty keys for no part."""
        known = [cls.of([]), *parts]
        return cls(
            _distinct(np.concatenate([part.prompt for part in known])),
            _distinct(np.concatenate([part.stem for part in known])),
            _distinct(np.concatenate([part.ngrams for part in known])),
        )

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> PromptKeys:
        """The inverse of `to_arrays`.

        Raises:
            DataError: If an array is missing or not one-dimensional uint64.
        """
        for name in ("prompt", "stem", "ngrams"):
            array = arrays.get(name)
            if array is None or array.ndim != 1 or array.dtype != np.uint64:
                raise DataError(f"Prompt keys need the one-dimensional uint64 array {name!r}, got {array!r:.40}.")
        return cls(_distinct(arrays["prompt"]), _distinct(arrays["stem"]), _distinct(arrays["ngrams"]))

    def to_arrays(self) -> dict[str, KeyArray]:
        """The arrays `prompt`, `stem` and `ngrams`, for a checkpoint."""
        return {"prompt": self.prompt, "stem": self.stem, "ngrams": self.ngrams}

    def __len__(self) -> int:
        """Number of distinct prompts."""
        return len(self.prompt)

    def __repr__(self) -> str:
        """Sizes only."""
        return f"PromptKeys(prompts={len(self.prompt)}, stems={len(self.stem)}, ngrams={len(self.ngrams)})"


@dataclass(frozen=True, slots=True, eq=False)
class Contamination:
    """Which test prompts were in the training data, and by what they were found.

    Attributes:
        exact: The normalised prompt is the same, shape (n,).
        stem: The question stem is the same, shape (n,).
        ngram: At least `NGRAM_SHARE` of the prompt's sampled n-grams were seen, shape (n,).
        cosine: A training vector is at least as near as the limit, shape (n,); all False where vectors were not given.
    """

    exact: npt.NDArray[np.bool_]
    stem: npt.NDArray[np.bool_]
    ngram: npt.NDArray[np.bool_]
    cosine: npt.NDArray[np.bool_]

    @property
    def any(self) -> npt.NDArray[np.bool_]:
        """True where any check found the prompt, shape (n,)."""
        return self.exact | self.stem | self.ngram | self.cosine

    @property
    def counts(self) -> dict[str, int]:
        """Prompts found by each check (one prompt may be found by several), and by `any`."""
        checks = {"exact": self.exact, "stem": self.stem, "ngram": self.ngram, "cosine": self.cosine, "any": self.any}
        return {name: int(mask.sum()) for name, mask in checks.items()}

    def by(self) -> str:
        """How many prompts each check found, in words."""
        found = self.counts
        return ", ".join(f"{found[name]:,} by {name}" for name in ("exact", "stem", "ngram", "cosine"))

    def summary(self) -> str:
        """One sentence for a report or a message."""
        return f"{self.counts['any']:,} of {len(self.exact):,} prompts are in the training data ({self.by()})."


def contamination(
    test_prompts: Sequence[str],
    train: PromptKeys,
    train_vectors: npt.NDArray[Any] | None = None,
    test_vectors: npt.NDArray[Any] | None = None,
    cosine: float = 0.95,
) -> Contamination:
    r"""Which of the test prompts are in the training data.

    Args:
        test_prompts: n strings; an empty one is never contaminated.
        train: Keys of the training prompts.
        train_vectors: Embeddings of the training prompts, shape (k, d); give both sets of vectors or none.
        test_vectors: Embeddings of the test prompts by the same embedder, shape (n, d).
        cosine: Cosine from which two prompts count as the same, in (0, 1].

    Raises:
        DataError: If only one set of vectors is given, shapes do not fit, or `cosine` is outside (0, 1].

    Source: Ong et al. 2024, arXiv:2406.18665, sec. 5.1 (cosine >= 0.95). Differs: adds text, stem and n-grams.

    Example:
        >>> contamination(["What is 2+2?\nA. 3\nB. 4"], PromptKeys.of(["what is 2 + 2"])).counts["stem"]
        1
    """
    if not 0 < cosine <= 1:
        raise DataError(f"`cosine` must be in (0, 1], got {cosine}. The paper uses 0.95.")
    n = len(test_prompts)
    near = np.zeros(n, dtype=np.bool_)
    if (train_vectors is None) != (test_vectors is None):
        raise DataError("Give both `train_vectors` and `test_vectors`, or neither.")
    if train_vectors is not None and test_vectors is not None:
        if len(test_vectors) != n:
            raise DataError(f"`test_vectors` must have one row per prompt, {n}; got {len(test_vectors)}.")
        near = nearest_cosine(test_vectors, train_vectors) >= cosine if len(train_vectors) else near
    full = np.array([bool(prompt.strip()) for prompt in test_prompts], dtype=np.bool_)
    exact = _seen([_prompt_key(prompt) for prompt in test_prompts], train.prompt)
    stem = _seen([_hash(question_stem(prompt)) for prompt in test_prompts], train.stem)
    ngram = _ngram_shares(test_prompts, train.ngrams) >= NGRAM_SHARE
    return Contamination(exact=exact & full, stem=stem & full, ngram=ngram & full, cosine=near & full)


def _ngram_shares(prompts: Sequence[str], known: KeyArray) -> npt.NDArray[np.float64]:
    """Share of each prompt's sampled n-grams that is known, 0 where it has none, shape (n,)."""
    sampled = [sorted(_sampled_ngrams(prompt)) for prompt in prompts]
    sizes = np.array([len(keys) for keys in sampled], dtype=np.intp)
    owner = np.repeat(np.arange(len(prompts)), sizes)
    seen = _seen([key for keys in sampled for key in keys], known)
    hits = np.bincount(owner, weights=seen, minlength=len(prompts))
    return hits / np.maximum(sizes, 1)


def _sampled_ngrams(prompt: str) -> set[int]:
    """Hashes of the n-grams whose hash falls into the sample; of a prompt with none, the smallest hash."""
    words = _words(prompt)
    if not words:
        return set()
    size = _LONG if len(words) >= _LONG else _SHORT if len(words) >= _SHORT else len(words)
    hashes = {_hash(" ".join(words[i : i + size])) for i in range(len(words) - size + 1)}
    return {key for key in hashes if key % _SAMPLED == 0} or {min(hashes)}


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def _prompt_key(prompt: str) -> int:
    return int(prompt_hash(prompt)[:16], 16)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big")


def _seen(keys: Sequence[int], known: KeyArray) -> npt.NDArray[np.bool_]:
    wanted = np.array(keys, dtype=np.uint64)
    if not len(known):
        return np.zeros(len(wanted), dtype=np.bool_)
    place = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.asarray(known[place] == wanted)


def _distinct(keys: KeyArray) -> KeyArray:
    """In rising order, each once. NumPy's `unique` imports its masked arrays: a quarter of loading a router."""
    ordered = np.sort(keys)
    return np.delete(ordered, np.flatnonzero(ordered[1:] == ordered[:-1]))


def _sorted(keys: Iterable[int]) -> KeyArray:
    return np.array(sorted(keys), dtype=np.uint64)
