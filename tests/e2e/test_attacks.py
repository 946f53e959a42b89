"""Input that once crashed the program, was read as another file, or left something half-made behind."""

import os
import stat

import pytest

TABLE = "prompt,big,small\n" + "".join(f"question {i},1,{i % 2}\n" for i in range(20))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_name_with_brackets_is_that_file_and_not_a_pattern(run, here):
    (here / "d[1].csv").write_text(TABLE)
    (here / "d1.csv").write_text(TABLE.replace("question", "wrong"))

    run("data", "split", "d[1].csv", "--out", "out", "--format", "csv")

    assert "wrong" not in (here / "out" / "test.csv").read_text() + (here / "out" / "train.csv").read_text()


def test_json_to_a_pipe_leaves_it_a_pipe(run, here):
    os.mkfifo(here / "pipe")
    reader = os.open(here / "pipe", os.O_RDONLY | os.O_NONBLOCK)

    run("route", "hi", "--json", "pipe")

    assert stat.S_ISFIFO((here / "pipe").stat().st_mode)
    assert b"win_rate" in os.read(reader, 10_000)


@pytest.mark.parametrize(
    "lines", ["hello ; there\nfoo ; bar\n", "12\n3\n", "2024-01-01\n2024-01-02\n", "true\nfalse\n"]
)
def test_prompts_of_a_csv_file_are_text_whatever_they_look_like(run, here, lines):
    (here / "p.csv").write_text("prompt\n" + lines)

    assert len(run("route", "--file", "p.csv", "--json", "-").stdout.splitlines()) == 2


@pytest.mark.parametrize("value", ['{"prompt": "x", "n": ' + "9" * 5000 + "}", '{"prompt": ' + "[" * 100_000])
def test_json_out_of_all_bounds_is_refused_with_its_line(run, here, value):
    (here / "p.jsonl").write_text('{"prompt": "fine"}\n' + value + "\n")

    assert "p.jsonl, line 2: not JSON" in run.refused("route", "--file", "p.jsonl")


@pytest.mark.parametrize("value", ["!!timestamp abc", '!!int ""', "!!bool maybe"])
def test_yaml_tags_that_do_not_fit_are_refused(run, here, value):
    (here / "c.yaml").write_text(f"seed: {value}\n")

    assert "seed: not a plain value" in run.refused("train", "--config", "c.yaml")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--param", "k=" + "[" * 20_000), "--param k: a number or nesting out of all bounds"),
        (("--seed", "99999999999999999999"), "seed"),
    ],
)
def test_values_out_of_all_bounds_are_refused(run, here, words, message):
    (here / "o.csv").write_text(TABLE)

    said = run.refused("train", "knn", "--data", "o.csv", "--strong", "big", "--weak", "small", "--out", "x", *words)

    assert message in said


def test_a_plot_of_an_unknown_format_is_refused_before_the_work(run, here):
    (here / "o.csv").write_text(TABLE)

    said = run.refused("evaluate", "random", "--benchmark", "o.csv", "--plot", "x.gif", "--json", "e.json")

    assert said.startswith("--plot draws a .png or .svg file, got 'x.gif'")


def test_an_empty_file_name_is_not_standard_input(run, here):
    assert "No file ''" in run.refused("route", "--file", "")


def test_messages_do_not_quote_what_a_file_holds(run, here):
    (here / "l.jsonl").write_text('{"prompt":"SECRET TEXT","prompt":"x","big":1,"small":0}\n')

    assert "SECRET" not in run.refused("data", "inspect", "l.jsonl")
