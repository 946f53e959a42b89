import pytest

from prefroute.augment.verdict import read_preference, read_score


@pytest.mark.parametrize(
    ("text", "preference"),
    [
        ("A is right.\nVERDICT: A", 1.0),
        ("VERDICT: B", 0.0),
        ("They are alike.\n\n**Verdict: tie**\n", 0.5),
        ("`VERDICT: [A]`.", 1.0),
        ("VERDICT:B\n\n  \n", 0.0),
    ],
)
def test_verdict_is_read_from_the_last_line(text, preference):
    assert read_preference(text) == preference


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   \n ",
        "A is better.",
        "VERDICT: A\nOn second thought, B.",
        "VERDICT: A or B",
        "VERDICT: C",
        "VERDICT:",
        "My VERDICT: A",
        "VERDICT: A, because B is wrong",
        "SCORE: 4",
    ],
)
def test_anything_else_is_no_verdict(text):
    assert read_preference(text) is None


@pytest.mark.parametrize(
    ("text", "score"), [("SCORE: 1", 1), ("Good.\n**Score: 5**", 5), ("SCORE: 3/5", 3), ("score = 4.", 4)]
)
def test_score_is_read_from_the_last_line(text, score):
    assert read_score(text) == score


@pytest.mark.parametrize("text", ["", "4", "SCORE: 0", "SCORE: 6", "SCORE: 4.5", "SCORE: 45", "SCORE: 4-5", "SCORE: n"])
def test_anything_else_is_no_score(text):
    assert read_score(text) is None
