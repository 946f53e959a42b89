"""The same question is found in another format; another question is not."""

from __future__ import annotations

import numpy as np
import pytest

from prefroute.data import PromptKeys, contamination
from prefroute.data.contamination import question_stem
from prefroute.errors import DataError
from prefroute.prompts import prompt_hash

QUESTION = "A farmer has seven ducks and sells three of them. How many are left?"
LONG = " ".join(f"word{i}" for i in range(60))

FORMATS = {
    "options with dots": f"{QUESTION}\nA. 3\nB. 4\nC. 5\nD. 6\nAnswer:",
    "options with parentheses": f"{QUESTION}\nA) 3\nB) 4\nC) 5",
    "options in parentheses": f"{QUESTION}\n(A) 3\n(B) 4",
    "options under a title": f"{QUESTION}\nOptions:\nA. 3\nB. 4",
    "a leading Question:": f"Question: {QUESTION}",
    "few-shot": f"Question: What is 1 + 1?\nA. 1\nB. 2\nAnswer: B\n\nQuestion: {QUESTION}\nA. 3\nB. 4\nAnswer:",
    "other punctuation": QUESTION.replace(".", "").replace("?", " ?"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_question_is_found_by_stem_in_another_format(name):
    found = contamination([FORMATS[name]], PromptKeys.of([QUESTION]))

    assert found.stem.tolist() == [True]
    assert found.any.tolist() == [True]


@pytest.mark.parametrize("unit", ["\n", " ", "\n ", "q ", "q1", "\nQ:\n", "\nA.", "\nquestion 1", "Options:\n\n"])
def test_no_question_is_slow_to_take_apart(unit):
    question_stem(unit * 50_000)  # a quadratic pattern would take minutes
    question_stem("Q" + unit * 50_000 + "?")


def test_same_prompt_in_other_case_and_white_space_is_exact():
    found = contamination([QUESTION.upper() + "\n"], PromptKeys.of([QUESTION]))

    assert found.exact.tolist() == [True]


def test_other_questions_are_not_contaminated():
    found = contamination(["How do I bake bread?", LONG], PromptKeys.of([QUESTION]))

    assert found.counts == {"exact": 0, "stem": 0, "ngram": 0, "cosine": 0, "any": 0}


def test_prompt_inside_a_longer_one_is_found_by_ngrams():
    train = PromptKeys.of([f"Please help me with this text, which I read today: {LONG} Thank you very much indeed."])

    found = contamination([LONG], train)

    assert (found.exact[0], found.stem[0], found.ngram[0]) == (False, False, True)


def test_small_shared_part_is_not_contamination():
    shared = " ".join(LONG.split()[:20])
    train = PromptKeys.of([shared + " " + " ".join(f"left{i}" for i in range(200))])

    assert not contamination([shared + " " + " ".join(f"right{i}" for i in range(200))], train).any[0]


def test_empty_prompts_are_never_contaminated():
    assert not contamination(["", "  "], PromptKeys.of(["", "?"])).any.any()


def test_cosine_of_the_limit_counts():
    train_vectors = np.array([[1.0, 0.0]])
    test_vectors = np.array([[3.0, 0.0], [0.0, 1.0], [1.0, 1.0]])

    found = contamination(["a", "b", "c"], PromptKeys.of([]), train_vectors, test_vectors, cosine=0.7)

    assert found.cosine.tolist() == [True, False, True]  # cosines 1, 0 and .707


def test_vectors_must_come_in_pairs():
    with pytest.raises(DataError, match="both `train_vectors` and `test_vectors`"):
        contamination(["a"], PromptKeys.of([]), train_vectors=np.eye(2))


def test_vectors_must_have_a_row_for_each_prompt():
    with pytest.raises(DataError, match="one row per prompt, 1; got 2"):
        contamination(["a"], PromptKeys.of([]), np.eye(2), np.eye(2))


@pytest.mark.parametrize("cosine", [0, 1.5, float("nan")])
def test_cosine_outside_its_range_is_refused(cosine):
    with pytest.raises(DataError, match="`cosine` must be in"):
        contamination(["a"], PromptKeys.of([]), cosine=cosine)


def test_summary_says_how_many_were_found_by_what():
    found = contamination([QUESTION, "other"], PromptKeys.of([QUESTION]))

    assert found.summary() == (
        "1 of 2 prompts are in the training data (1 by exact, 1 by stem, 1 by ngram, 0 by cosine)."
    )


def test_keys_survive_arrays():
    keys = PromptKeys.of([QUESTION, LONG])

    again = PromptKeys.from_arrays(keys.to_arrays())

    assert repr(again) == repr(keys)
    assert contamination([QUESTION, LONG, "other"], again).exact.tolist() == [True, True, False]


def test_arrays_of_another_type_are_refused():
    arrays = PromptKeys.of([QUESTION]).to_arrays() | {"stem": np.zeros(3)}

    with pytest.raises(DataError, match="array 'stem'"):
        PromptKeys.from_arrays(arrays)


def test_merged_keys_know_all_parts_and_hashes_alone_know_exact_only():
    merged = PromptKeys.merge([PromptKeys.of([LONG]), PromptKeys.from_hashes([prompt_hash(QUESTION)])])

    found = contamination([QUESTION, LONG], merged)

    assert found.exact.tolist() == [True, True]
    assert found.stem.tolist() == [False, True]


def test_merging_nothing_gives_empty_keys():
    assert len(PromptKeys.merge([])) == 0


def test_stem_of_a_prompt_that_is_all_options_is_the_whole_prompt():
    assert question_stem("\nA. one\nB. two") == "a one b two"


def test_lone_surrogates_are_no_error():
    assert len(PromptKeys.of(["bad \ud800 text"])) == 1
