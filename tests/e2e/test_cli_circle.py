"""The circle through the command line: from a table to a routed prompt, and the JSON that scripts rely on."""

import json
import shutil

import pytest

from prefroute.checkpoint import open_checkpoint

PAIR = ("--strong", "big", "--weak", "small")
ROW_KEYS = {
    *("router", "benchmark", "n", "apgr", "apgr_low", "apgr_high", "cpt50", "cpt80", "strong_quality", "weak_quality"),
    *("strong", "weak", "seed", "embedder", "n_left_out", "protocol"),
}


def test_route_prints_one_json_object_and_nothing_else(run, checkpoint):
    done = run("route", "Prove that there are infinitely many primes.", "--router", checkpoint, "--json", "-")

    decision = json.loads(done.stdout)

    assert {"model", "win_rate", "threshold", "router"} <= set(decision)
    assert decision["model"] == ("big" if decision["win_rate"] >= decision["threshold"] else "small")
    assert decision["router"] == str(checkpoint)
    assert done.stderr == ""


@pytest.mark.parametrize(("threshold", "model"), [("0", "big"), ("1", "small")])
def test_threshold_zero_sends_everything_to_strong_and_one_everything_to_weak(run, checkpoint, threshold, model):
    done = run("route", "hi", "--router", checkpoint, "--threshold", threshold, "--json", "-")

    assert json.loads(done.stdout)["model"] == model


def test_route_gives_one_line_a_prompt_in_order_whatever_the_file_format(run, checkpoint):
    prompts = ["Say good morning.", "Prove that 7 is prime.", "Write a Python function."]
    (run.folder / "a.txt").write_text("".join(f"{prompt}\n" for prompt in prompts))
    (run.folder / "a.jsonl").write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
    (run.folder / "a.csv").write_text("prompt\n" + "".join(f"{prompt}\n" for prompt in prompts))

    answers = [
        run("route", "--router", checkpoint, "--file", name, "--json", "-").stdout
        for name in ("a.txt", "a.jsonl", "a.csv")
    ]
    answers.append(run("route", "--router", checkpoint, "--json", "-", stdin="\n".join(prompts) + "\n").stdout)

    rows = [json.loads(line) for line in answers[0].splitlines()]
    assert [row["index"] for row in rows] == [0, 1, 2]
    assert len(set(answers)) == 1


def test_a_prompt_scores_the_same_alone_and_in_a_file(run, checkpoint):
    alone = json.loads(run("route", "Say good morning.", "--router", checkpoint, "--json", "-").stdout)
    stdin = "Prove it.\nSay good morning.\n"

    second = json.loads(run("route", "--router", checkpoint, "--json", "-", stdin=stdin).stdout.splitlines()[1])

    assert second["win_rate"] == pytest.approx(alone["win_rate"], abs=1e-6)  # float32 vectors in another batch


def test_route_with_a_strong_share_sends_that_share_to_strong(run, checkpoint):
    prompts = "".join(f"Prove statement number {i} about {'very ' * i}large primes.\n" for i in range(40))

    done = run("route", "--router", checkpoint, "--strong-share", "0.25", "--json", "-", stdin=prompts)

    models = [json.loads(line)["model"] for line in done.stdout.splitlines()]
    assert models.count("big") == 10


def test_one_prompt_with_a_strong_share_takes_the_ready_made_threshold_and_says_so(run):
    thresholds = open_checkpoint("default").manifest["metrics"]["thresholds"]

    done = run("route", "What is 2 + 2?", "--strong-share", "0.3", "--json", "-")

    assert json.loads(done.stdout)["threshold"] == thresholds["0.3"]
    assert "the checkpoint's own threshold for this share is used" in done.stderr


def test_few_prompts_with_a_strong_share_are_refused_where_the_checkpoint_has_no_table(run, checkpoint):
    message = run.refused("route", "What is 2 + 2?", "--router", checkpoint, "--strong-share", "0.3")

    assert "needs at least 20 of them, got 1, and the checkpoint has no table of thresholds." in message


def test_a_bad_line_of_a_prompt_file_is_named(run, checkpoint):
    (run.folder / "bad.jsonl").write_text('{"prompt": "hi"}\n{"text": "hi"}\n')

    message = run.refused("route", "--router", checkpoint, "--file", "bad.jsonl")

    assert message == 'bad.jsonl, line 2: no text under `prompt`. Each line looks like {"prompt": ...}.'


def test_evaluate_writes_json_alone_to_standard_output(run, outcomes):
    words = ("knn", "--benchmark", outcomes, *PAIR, "--folds", "3", "--seed", "1", "--json", "-")

    done = run("evaluate", *words)

    result = json.loads(done.stdout)
    assert result["schema"] == 1
    rows = {row["router"]: row for row in result["results"]}
    assert set(rows) == {"knn", "random", "length", "always-weak", "always-strong", "oracle"}
    assert all(set(row) >= ROW_KEYS for row in rows.values())
    assert rows["knn"]["seed"] == 1
    assert rows["knn"]["protocol"] == "folds-3"
    assert rows["random"]["apgr"] == 0.5


def test_evaluate_repeats_itself_with_the_same_seed(run, outcomes):
    words = ("evaluate", "knn", "--benchmark", outcomes, *PAIR, "--gold", "100", "--seed", "3", "--json", "-")

    assert json.loads(run(*words).stdout)["results"] == json.loads(run(*words).stdout)["results"]


def test_evaluate_of_a_checkpoint_leaves_out_what_it_was_trained_on(run, outcomes, checkpoint):
    message = run.refused("evaluate", checkpoint, "--benchmark", outcomes, *PAIR)

    assert message.startswith("No question of outcomes")


def test_evaluate_takes_the_pair_that_the_routers_were_trained_for(run, outcomes):
    lines = outcomes.read_text().splitlines()
    three = [lines[0] + ",other", *(f"{line},{i % 2}" for i, line in enumerate(lines[1:]))]
    for name, part in (("train.csv", three[:150]), ("test.csv", [three[0], *three[150:]])):
        (run.folder / name).write_text("\n".join(part) + "\n")
    run("train", "length", "--data", "train.csv", "--strong", "small", "--weak", "other", "--out", "mine")

    done = run("evaluate", "mine", "--benchmark", "test.csv", "--json", "-")
    refused = run.refused("evaluate", "length", "--benchmark", "test.csv", "--folds", "3")

    assert {(row["strong"], row["weak"]) for row in json.loads(done.stdout)["results"]} == {("small", "other")}
    assert "3 models (big, small, other). Name two of them with --strong and --weak." in refused


def test_evaluate_of_a_kind_without_a_protocol_says_how_to_train_it(run, outcomes):
    message = run.refused("evaluate", "knn", "--benchmark", outcomes, *PAIR)

    assert "--train-on PATH, --gold N or --folds K" in message


def test_evaluate_writes_page_picture_and_markdown(run, outcomes):
    pytest.importorskip("matplotlib")
    pytest.importorskip("plotly")
    files = ("--html", "page.html", "--plot", "curve.svg", "--markdown", "table.md")

    run("evaluate", "length", "knn", "--benchmark", outcomes, *PAIR, "--folds", "3", *files)

    assert "<html" in (run.folder / "page.html").read_text()
    assert "<svg" in (run.folder / "curve.svg").read_text()
    assert "| knn |" in (run.folder / "table.md").read_text()


def test_train_refuses_the_test_questions_and_can_leave_them_out(run, outcomes):
    run("data", "split", outcomes, "--test-share", "0.3", "--out", "split")
    words = ("train", "length", "--data", outcomes, *PAIR, "--against", "split/test.parquet")

    refused = run.refused(*words, "--out", "one")
    done = run(*words, "--out", "two", "--drop-contaminated", "--json", "-")

    assert "training rows are questions of 'split/test.parquet' (" in refused
    assert run.refused(*words, "--against", outcomes, "--drop-contaminated", "--out", "no").startswith("All ")
    assert not (run.folder / "one").exists()
    summary = json.loads(done.stdout)
    assert summary["n"] + summary["n_contaminated"] == 240
    assert summary["n_contaminated"] >= 50  # the test part alone is about 72 of 240


def test_train_never_replaces_a_folder(run, outcomes):
    (run.folder / "mine").mkdir()

    message = run.refused("train", "length", "--data", outcomes, *PAIR, "--out", "mine")

    assert message == "--out 'mine' exists and is left alone. Remove it, or choose another folder."


def test_train_twice_with_one_seed_gives_one_fingerprint(run, outcomes):
    def fingerprint(out: str) -> object:
        words = ("train", "knn", "--data", outcomes, *PAIR, "--out", out, "--json", "-")
        return json.loads(run(*words).stdout)["fingerprint"]

    assert fingerprint("one") == fingerprint("two")


def test_train_refuses_a_parameter_that_the_kind_does_not_have(run, outcomes):
    message = run.refused("train", "knn", "--data", outcomes, *PAIR, "--out", "x", "--param", "kk=3")

    assert message.startswith("Unknown parameter of knn 'kk'. Did you mean 'k'?")


@pytest.fixture
def half_trained(run, outcomes):
    """A folder with a router that was trained on `split/train.csv`, and the rest in `split/test.csv`."""
    run("data", "split", outcomes, "--test-share", "0.3", "--format", "csv", "--out", "split")
    run("train", "length", "--data", "split/train.csv", *PAIR, "--out", "mine")
    return run


def test_calibrate_leaves_out_and_counts_what_the_router_was_trained_on(half_trained, outcomes):
    words = ("calibrate", "mine", "--outcomes", outcomes, "--strong-share", "0.3", "--dry-run")
    seen = json.loads(
        half_trained("data", "check", "split/train.csv", "--against", outcomes, "--json", "-", code=1).stdout
    )

    fair = json.loads(half_trained(*words, "--json", "-").stdout)
    said = half_trained(*words).stdout
    insisted = half_trained(*words, "--keep-seen").stdout

    n_seen = seen["found"]["any"]
    assert (fair["n_seen"], fair["n"]) == (n_seen, 240 - n_seen)
    assert f"Left out: {n_seen} prompts that the router was trained on" in said
    assert "chosen on 240 prompts" in insisted
    assert f"Warning: {n_seen} of these prompts trained the router" in insisted


def test_calibrate_on_new_prompts_alone_says_nothing_of_training(half_trained):
    (half_trained.folder / "new.txt").write_text("".join(f"{'word ' * i}entirely\n" for i in range(1, 30)))

    done = half_trained("calibrate", "mine", "--prompts", "new.txt", "--strong-share", "0.3")

    assert "chosen on 29 prompts" in done.stdout
    assert "trained on" not in done.stdout


def test_calibrate_on_a_handful_of_prompts_warns(half_trained):
    done = half_trained("calibrate", "mine", "--prompts", "-", "--strong-share", "0.5", stdin="new one\nanother\n")

    assert "Warning: so few prompts say little" in done.stdout


def test_calibrate_on_nothing_but_training_prompts_is_refused_until_the_user_insists(run, outcomes, checkpoint):
    before = (checkpoint / "policy.json").read_bytes()

    message = run.refused("calibrate", checkpoint, "--outcomes", outcomes, "--strong-share", "0.9")

    assert message.startswith("The router was trained on all 240 prompts")
    assert (checkpoint / "policy.json").read_bytes() == before


def test_calibrate_saves_a_threshold_that_route_then_uses(run, outcomes, checkpoint):
    shutil.copytree(checkpoint, run.folder / "mine")

    words = ("calibrate", "mine", "--outcomes", outcomes, "--keep-seen", "--pgr", "0.8", "--json", "-")
    threshold = json.loads(run(*words).stdout)["threshold"]

    assert json.loads(run("route", "hi", "--router", "mine", "--json", "-").stdout)["threshold"] == threshold


def test_calibrate_with_dry_run_leaves_the_checkpoint_as_it_is(run, outcomes, checkpoint):
    before = (checkpoint / "policy.json").read_bytes()

    run("calibrate", checkpoint, "--outcomes", outcomes, "--strong-share", "0.9", "--keep-seen", "--dry-run")

    assert (checkpoint / "policy.json").read_bytes() == before


@pytest.mark.parametrize("fault", ["of another router", "edited by hand"])
def test_calibrate_mends_a_policy_that_route_refuses(run, outcomes, checkpoint, fault):
    shutil.copytree(checkpoint, run.folder / "mine")
    policy = run.folder / "mine" / "policy.json"
    if fault == "of another router":
        run("train", "length", "--data", outcomes, *PAIR, "--out", "other", "--calibrate-share", "0.5")
        shutil.copy(run.folder / "other" / "policy.json", policy)
    else:
        policy.write_text(policy.read_text().replace('"alpha": 0.', '"alpha": 0.1'))

    refused = run.refused("route", "hi", "--router", "mine")
    run("calibrate", "mine", "--outcomes", outcomes, "--strong-share", "0.3", "--keep-seen")

    assert "prefroute calibrate mine" in refused
    run("route", "hi", "--router", "mine")


def test_calibrate_needs_one_target(run, outcomes, checkpoint):
    message = run.refused("calibrate", checkpoint, "--outcomes", outcomes)

    assert message.startswith("Give one of --strong-share, --mean-cost-usd and --pgr")


def test_data_check_exits_with_1_when_it_finds_something_and_0_when_not(run, outcomes):
    (run.folder / "other.csv").write_text("prompt,big,small\nAn unrelated sentence about gardens,1,0\n")

    found = run("data", "check", outcomes, "--against", outcomes, "--json", "-", code=1)
    nothing = run("data", "check", outcomes, "--against", "other.csv", "--json", "-")

    assert json.loads(found.stdout)["found"]["exact"] == 240
    assert json.loads(nothing.stdout)["found"]["any"] == 0


def test_data_split_keeps_every_row_once(run, outcomes):
    done = run("data", "split", outcomes, "--out", "parts", "--json", "-")

    sizes = json.loads(done.stdout)["n"]
    again = [json.loads(run("data", "inspect", f"parts/{n}.parquet", "--json", "-").stdout)["rows"] for n in sizes]
    assert sum(sizes.values()) == 240
    assert again == list(sizes.values())


def test_init_writes_a_config_that_train_takes(run, outcomes):
    run("init")
    text = (run.folder / "prefroute.yaml").read_text()
    text = text.replace(
        "router: linear", f"router: length\n  data: [{outcomes}]\n  strong: big\n  weak: small\n  out: runs"
    )
    (run.folder / "prefroute.yaml").write_text(text)

    run("train", "--config", "prefroute.yaml")

    assert (run.folder / "runs" / "router.json").is_file()


def test_init_leaves_an_existing_file_alone(run):
    (run.folder / "prefroute.yaml").write_text("mine")

    message = run.refused("init")

    assert message == "'prefroute.yaml' exists and is left alone. Choose another name, or add --force."
    assert (run.folder / "prefroute.yaml").read_text() == "mine"


def test_train_on_a_table_that_names_its_pair_strong_and_weak_means_the_benchmarks_pair(run, tmp_path):
    rows = [f"made-up,q{i} {'prove' if i % 2 else 'say'},A,B,1,{i % 2},correct(0/1)" for i in range(40)]
    head = "source,prompt,strong_model,weak_model,strong_score,weak_score,metric"
    (tmp_path / "pairs.csv").write_text("\n".join([head, *rows]) + "\n")
    test = "".join(f"other {i} {'prove' if i % 2 else 'say'},1,{i % 2}\n" for i in range(40))
    (tmp_path / "test.csv").write_text("prompt,big,small\n" + test)

    result = run(
        "evaluate", "linear", "--benchmark", tmp_path / "test.csv", "--strong", "big", "--weak", "small",
        "--train-on", tmp_path / "pairs.csv", "--json", "-",
    )  # fmt: skip

    assert json.loads(result.stdout)["results"][0]["apgr"] > 0.7
