"""Battle tables of every schema come out as `Battles` with the right winner."""

from __future__ import annotations

import gzip
import json

import duckdb
import pytest

from prefroute.data import load
from prefroute.errors import DataError
from prefroute.types import Battles

WINNERS = {"model_a": 1.0, "model_b": 0.0, "tie": 0.5, "tie (bothbad)": 0.5, "tie (inconsistent)": 0.5}


def read(path, **options):
    """`load` as plain Python: each test knows which table it reads."""
    return load(path, **options)


def write(folder, name, text):
    path = folder / name
    path.write_text(text, encoding="utf-8", newline="")
    return path


def winner_of(battles, row):
    """Name of the preferred model, or None for a tie."""
    if battles.outcome[row] == 0.5:
        return None
    return battles.models[(battles.model_a if battles.outcome[row] == 1 else battles.model_b)[row]]


@pytest.mark.parametrize(("word", "outcome"), WINNERS.items())
def test_each_word_of_the_winner_column_is_understood(tmp_path, word, outcome):
    path = write(tmp_path, "b.csv", f"prompt,model_a,model_b,winner\nhi,big,small,{word}\n")

    battles = read(path)

    assert isinstance(battles, Battles)
    assert battles.outcome.tolist() == [outcome]
    assert battles.models[battles.model_a[0]] == "big"


def test_winner_may_be_the_name_of_one_of_the_two_models(tmp_path):
    path = write(tmp_path, "b.csv", "prompt,model_a,model_b,winner\nhi,big,small,small\n")

    assert winner_of(read(path), 0) == "small"


def test_arena_55k_takes_the_first_turn_of_the_json_list(tmp_path):
    path = write(
        tmp_path,
        "arena.csv",
        "id,model_a,model_b,prompt,response_a,response_b,winner_model_a,winner_model_b,winner_tie\n"
        '1,x,y,"[""first, with """"quotes"""""",""second""]",r,r,1,0,0\n'.replace('""""', '\\""')
        + '2,x,y,"[""other""]",r,r,0,1,0\n3,y,x,"[""third""]",r,r,0,0,1\n',
    )

    battles = read(path)

    assert battles.prompts == ['first, with "quotes"', "other", "third"]
    assert [winner_of(battles, row) for row in range(3)] == ["x", "y", None]


def test_all_turns_are_joined_by_line_breaks_when_asked_for(tmp_path):
    row = {"prompt": ["one", "two"], "model_a": "x", "model_b": "y", "winner": "tie"}
    path = write(tmp_path, "arena.jsonl", json.dumps(row) + "\n")

    assert read(path, turns="all").prompts == ["one\ntwo"]
    assert read(path).prompts == ["one"]


def test_conversations_give_their_first_message(tmp_path):
    conversation = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]
    row = {"conversation_a": conversation, "model_a": "x", "model_b": "y", "winner": "model_b"}
    path = write(tmp_path, "arena.jsonl", json.dumps(row) + "\n")

    assert read(path).prompts == ["hello"]


def test_parquet_lists_of_turns_give_their_first_turn(tmp_path):
    path = tmp_path / "arena.parquet"
    select = "SELECT ['one', 'two'] AS prompt, 'x' AS model_a, 'y' AS model_b, 1 AS winner_model_a, 0 AS winner_model_b"
    duckdb.connect().execute(f"COPY ({select}, 0 AS winner_tie) TO '{path}' (FORMAT parquet)")

    assert read(path).prompts == ["one"]


def test_pair_scores_are_half_of_one_plus_the_gain(tmp_path):
    path = write(tmp_path, "p.csv", "prompt,strong_score,weak_score\na,1,0\nb,0,0\nc,0,1\n")

    battles = read(path, strong="S", weak="W")

    # (1 + strong - weak) / 2
    assert battles.outcome.tolist() == [1.0, 0.5, 0.0]
    assert battles.models == ("S", "W")


def test_metric_column_says_the_scale_of_each_row(tmp_path):
    path = write(
        tmp_path,
        "p.csv",
        "prompt,strong_model,weak_model,strong_score,weak_score,metric\n"
        "a,S,W,10,1,GPT-4 judge 1-10\n"
        "b,S,W,1,1,correct(0/1)\n"
        'c,S,W,0.9,0.5,"P(beats base), judge"\n'
        'd,S,W,0.5,0.2,"P(beats S), judge"\n'
        'e,S,W,-1,0.2,"P(beats base), judge"\n',
    )

    battles = read(path)

    # a: (1 + 1 - 0) / 2; c: (1 + .9 - .5) / 2; d: S is the baseline, so 1 - P(W beats S); e: unreadable, left out
    assert battles.outcome.tolist() == pytest.approx([1.0, 0.5, 0.7, 0.8])
    assert battles.prompts == ["a", "b", "c", "d"]


def test_naming_the_pair_pools_every_pair_under_it(tmp_path):
    path = write(tmp_path, "p.csv", "prompt,strong_model,weak_model,strong_score,weak_score\na,x,y,1,0\nb,u,v,0,1\n")

    assert read(path, strong="S", weak="W").models == ("S", "W")
    assert read(path).models == ("u", "v", "x", "y")


def test_reference_judge_counts_four_and_five_as_good_enough(tmp_path):
    rows = "".join(json.dumps({"prompt": str(s), "mixtral_score": s}) + "\n" for s in (1, 3, 4, 5))

    battles = read(write(tmp_path, "judge.jsonl", rows))

    assert [winner_of(battles, row) for row in range(4)] == [
        "gpt-4-1106-preview",
        "gpt-4-1106-preview",
        "mixtral-8x7b-instruct-v0.1",
        "mixtral-8x7b-instruct-v0.1",
    ]


def test_alpaca_eval_preference_two_means_the_second_generator_won(tmp_path):
    path = write(
        tmp_path,
        "a.csv",
        "prompt,generator_1,generator_2,preference\nq,base,new,2\nr,base,new,1\ns,base,new,0\nt,base,base,1.5\n",
    )

    battles = read(path)

    assert [winner_of(battles, row) for row in range(2)] == ["new", "base"]
    assert len(battles) == 2  # the unreadable preference 0 and the baseline against itself are left out


def test_prompts_beside_the_file_are_joined_by_id(tmp_path):
    write(tmp_path, "questions.csv", "question_id,turn1\n7,seven\n8,eight\n")
    path = write(tmp_path, "votes.csv", "question_id,model_a,model_b,winner\n8,x,y,tie\n7,x,y,model_a\n8,y,x,model_a\n")

    battles = read(path)

    assert battles.prompts == ["eight", "seven", "eight"]


def test_row_whose_prompt_is_missing_beside_it_is_named(tmp_path):
    write(tmp_path, "prompts.csv", "prompt_id,prompt\n7,seven\n")
    path = write(tmp_path, "votes.csv", "prompt_id,model_a,model_b,winner\n7,x,y,tie\n9,x,y,tie\n")

    with pytest.raises(DataError, match=r"votes\.csv, row 2, column 'prompt_id': '9' has no prompt in prompts\.csv"):
        read(path)


def test_folder_of_files_is_read_in_name_order(tmp_path):
    write(tmp_path, "2.csv", "prompt,model_a,model_b,winner\nsecond,x,y,tie\n")
    write(tmp_path, "1.csv", "prompt,model_a,model_b,winner\nfirst,x,y,tie\n")

    assert read(tmp_path).prompts == ["first", "second"]
    assert read(str(tmp_path / "*.csv")).prompts == ["first", "second"]


def test_a_hundred_files_are_read_in_bounded_memory(tmp_path):
    for i in range(100):
        write(tmp_path, f"{i:03}.csv", f"prompt,model_a,model_b,winner\nquestion {i},x,y,tie\n")

    assert read(tmp_path).prompts == [f"question {i}" for i in range(100)]


def test_gzipped_csv_and_tab_separated_files_are_read(tmp_path):
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(b"prompt,model_a,model_b,winner\nhi,x,y,tie\n"))
    write(tmp_path, "b.tsv", "prompt\tmodel_a\tmodel_b\twinner\na, b\tx\ty\ttie\n")

    assert read(tmp_path / "b.csv.gz").prompts == ["hi"]
    assert read(tmp_path / "b.tsv").prompts == ["a, b"]


def test_csv_keeps_quotes_line_breaks_and_nul_and_drops_the_byte_order_mark(tmp_path):
    text = '\ufeffprompt,model_a,model_b,winner\r\n"two\nlines, ""quoted""",x,y,tie\r\nn\0l,x,y,tie\r\n'

    assert read(write(tmp_path, "b.csv", text)).prompts == ['two\nlines, "quoted"', "n\0l"]


def test_battles_are_refused_when_outcomes_are_asked_for(tmp_path):
    path = write(tmp_path, "b.csv", "prompt,model_a,model_b,winner\nhi,x,y,tie\n")

    with pytest.raises(DataError, match="holds battles"):
        read(path, table="outcomes")
