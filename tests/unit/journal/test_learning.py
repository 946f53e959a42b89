"""Feedback back to training data, with the text and without it."""

import numpy as np
import pytest

from prefroute.embed import open_embedder
from prefroute.embed.stored import StoredEmbedder, write_vectors
from prefroute.errors import ConfigError, DataError
from prefroute.journal import FeedbackRow, RequestRow, Storing
from prefroute.journal.feedback import add_feedback
from prefroute.journal.learning import feedback_data
from prefroute.journal.statements import write_rows
from prefroute.journal.summary import RoutePair
from prefroute.prompts import prompt_hash

PAIRS = {"auto": RoutePair("big", "small")}


class Letters:
    """An embedder of three dimensions: counts of a, b and c."""

    id = "letters@1"
    spec = "letters"
    dim = 3
    trained_on = frozenset({prompt_hash("seen before")})

    def encode(self, prompts):
        return np.array([[prompt.count(letter) for letter in "abc"] for prompt in prompts], dtype=np.float32)


@pytest.fixture
def add(engine):
    """Adds a request, with feedback where any is given."""
    n = 0

    def add(prompt, model, *, embedder="letters@1", storing=None, route="auto", cost_usd=None, key_id=None, **given):
        nonlocal n
        n += 1
        vector = Letters().encode([prompt])[0].astype("<f2").tobytes()
        row = RequestRow(
            f"r{n}",
            float(n),
            "chat",
            status=200,
            key_id=key_id,
            route=route,
            model=model,
            cost_usd=cost_usd,
            prompt=prompt,
            prompt_hash=prompt_hash(prompt),
            embedding=vector,
            embedder=embedder,
        )
        with engine.begin() as connection:
            storing = storing or Storing(prompts=True, embeddings=True)
            write_rows(connection, [row], [], instance="i", storing=storing)
            if given:
                add_feedback(connection, FeedbackRow(row.request_id, key_id, 0.0, **given))

    return add


def test_scores_become_one_row_for_each_prompt_with_gaps(engine, add):
    add("abc", "big", score=1.0, cost_usd=0.5)
    add("cab\x00", "small", score=0.25)
    add("abc", "small", score=0.5, cost_usd=0.1)
    add("abc", "small", score=1.0, cost_usd=0.3)

    found = feedback_data(engine).outcomes

    assert found is not None
    assert found.prompts == ["abc", "cab\x00"]
    assert found.models == ("big", "small")
    np.testing.assert_array_equal(found.quality, [[1.0, 0.75], [np.nan, 0.25]])
    assert found.cost_usd is not None
    np.testing.assert_array_equal(found.cost_usd, [[0.5, 0.2], [np.nan, np.nan]])


def test_a_key_that_speaks_louder_than_it_asks_is_named(engine, add):
    for _ in range(6):
        add("abc", "big", key_id="key_quiet")
    add("abc", "big", key_id="key_quiet", score=1.0)
    for _ in range(3):
        add("cab", "small", key_id="key_loud", score=0.0)

    loud = feedback_data(engine).loud_key

    assert loud is not None
    assert (loud.key_id, loud.feedback_share, loud.request_share) == ("key_loud", 0.75, 0.3)
    assert str(loud).startswith("75% of this feedback came with key_loud, which sent 30% of the requests.")


@pytest.mark.parametrize("keys", [["key_only"], ["key_a", "key_b"], [None]])
def test_keys_that_speak_as_they_ask_are_not_named(engine, add, keys):
    for key in keys * 4:
        add("abc", "big", key_id=key, score=1.0)

    assert feedback_data(engine).loud_key is None


def test_no_feedback_has_no_loud_key(engine):
    assert feedback_data(engine).loud_key is None


def test_feedback_of_a_key_is_left_out_and_counted(engine, add):
    add("abc", "big", key_id="key_quiet", score=1.0)
    add("cab", "small", key_id="key_loud", score=0.0)
    add("bca", "small", key_id=None, score=0.5)

    found = feedback_data(engine, without_keys=["key_loud"])

    assert found.outcomes is not None
    assert found.outcomes.prompts == ["abc", "bca"]
    assert found.n_left_out == {"given with key_loud": 1}


def test_a_preference_for_another_model_is_a_battle(engine, add):
    add("abc", "small", preferred="big")

    found = feedback_data(engine)

    assert found.outcomes is None
    battles = found.battles
    assert battles is not None
    winner = battles.models[battles.model_a[0]], battles.models[battles.model_b[0]], battles.outcome[0]
    assert winner == ("big", "small", 1.0)


def test_a_preference_for_the_answer_needs_to_know_its_rival(engine, add):
    add("abc", "small", preferred="small")
    add("abc", "third", preferred="third")

    alone, with_pairs = feedback_data(engine), feedback_data(engine, pairs=PAIRS)

    reason = "the model that answered is preferred, and its rival is not known"
    assert alone.n_left_out == {reason: 2}
    assert with_pairs.n_left_out == {reason: 1}
    assert with_pairs.battles is not None
    assert with_pairs.battles.models == ("big", "small")


def test_without_stored_text_prompts_are_hashes_and_vectors_come_along(engine, add):
    add("abc", "big", score=1.0, storing=Storing(embeddings=True))
    add("aab", "small", score=0.5, storing=Storing(embeddings=True))
    add("abc", "small", score=0.5, storing=Storing(embeddings=True))

    found = feedback_data(engine, embedder="letters@1")

    assert found.outcomes is not None
    assert found.outcomes.prompts == [prompt_hash("abc"), prompt_hash("aab")]
    assert found.hashes == (prompt_hash("abc"), prompt_hash("aab"))
    np.testing.assert_array_equal(found.vectors, [[1, 1, 1], [2, 1, 0]])


def test_what_cannot_be_used_is_counted_with_its_reason(engine, add):
    add("abc", "big", score=1.0, storing=Storing())
    add("abc", "big", score=1.0, embedder="other@1")

    assert feedback_data(engine).n_left_out == {"its text is not stored (any more)": 1}
    assert feedback_data(engine, embedder="letters@1").n_left_out == {
        "its embedding is not stored (any more)": 1,
        "the embedding is of 'other@1', not of 'letters@1'": 1,
    }


def test_only_recent_requests_are_taken(engine, add):
    add("abc", "big", score=1.0)
    add("aab", "big", score=1.0)

    found = feedback_data(engine, since=1.5).outcomes

    assert found is not None
    assert found.prompts == ["aab"]


@pytest.fixture
def stored(tmp_path):
    """A file with the vectors of two prompts."""
    path = tmp_path / "vectors.safetensors"
    prompts = ["abc", "aab"]
    write_vectors(path, Letters(), [prompt_hash(p) for p in prompts], Letters().encode(prompts).astype(np.float16))
    return path


def test_stored_vectors_are_served_under_the_id_of_who_made_them(stored):
    embedder = open_embedder(f"stored:{stored}")

    assert (embedder.id, embedder.spec, embedder.dim) == ("letters@1", "letters", 3)
    assert embedder.trained_on == Letters.trained_on
    found = embedder.encode([prompt_hash("aab"), "abc"])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[2, 1, 0], [1, 1, 1]])
    assert embedder.encode([]).shape == (0, 3)


def test_a_prompt_without_a_stored_vector_is_refused(stored):
    with pytest.raises(DataError) as caught:
        StoredEmbedder(stored).encode(["abc", "unknown"])

    assert str(caught.value) == (
        "Prompt 1: vectors.safetensors holds no vector of it. It serves the prompts of the table that was written with "
        "it; for others open the embedder 'letters'."
    )


@pytest.mark.parametrize("content", [None, b"", b"not a file of tensors"])
def test_what_is_no_file_of_vectors_is_refused(tmp_path, content):
    path = tmp_path / "vectors.safetensors"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigError, match="is not a file of stored vectors"):
        StoredEmbedder(path)


def test_a_router_learns_from_vectors_alone_as_it_would_from_the_text(engine, add, stored, tmp_path):
    from prefroute.routers.knn import KNN

    rng = np.random.default_rng(0)
    prompts = ["".join(rng.choice(list("abc"), 8)) + str(i) for i in range(60)]
    for prompt in prompts:
        is_hard = prompt.count("a") > 3
        for model, score in (("big", 1.0), ("small", 0.0 if is_hard else 1.0)):
            add(prompt, model, score=score, storing=Storing(embeddings=True))
    found = feedback_data(engine, embedder="letters@1")
    assert found.outcomes is not None
    path = tmp_path / "all.safetensors"
    write_vectors(path, Letters(), found.hashes, found.vectors)

    router = KNN("big", "small", embedder=StoredEmbedder(path)).fit(found.outcomes)
    router.embedder = Letters()  # what a checkpoint opens: the same id

    hard, easy = router.win_rate(["aaaaaaaa", "bcbcbcbc"])
    assert hard > easy
