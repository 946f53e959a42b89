"""The command line's own manners: exit codes, streams, one-line errors, interrupts, pipes."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

PROGRAM = [sys.executable, "-m", "prefroute"]
COMMANDS = ("demo", "data", "augment", "train", "evaluate", "calibrate", "route", "init")


def test_without_arguments_the_help_is_printed_and_nothing_fails(run):
    assert "Usage: prefroute" in run().stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(run, command):
    assert f"Usage: prefroute {command}" in run(command, "--help").stdout


@pytest.mark.parametrize(
    "command",
    [
        *(c for c in COMMANDS if c not in ("data", "augment")),
        *("data fetch", "data inspect", "data split", "data check", "data phrases", "augment gold", "augment judge"),
    ],
)
def test_help_of_every_command_shows_an_example(run, command):
    assert "Example: prefroute" in run(*command.split(), "--help").stdout


def test_version_is_that_of_the_package(run):
    import prefroute

    assert run("--version").stdout == f"prefroute {prefroute.__version__}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("bogus",), "No such command 'bogus'."),
        (("evaluate",), "Missing argument 'ROUTER...'."),
        (("route", "hi", "--nonsense"), "No such option: --nonsense"),
        (("init", "--seed", "x"), "No such option: --seed"),
    ],
)
def test_a_wrong_line_is_refused_in_one_line_with_exit_code_2(run, words, said):
    assert said in run.refused(*words)


def test_an_unknown_router_names_the_nearest_and_all(run, outcomes):
    message = run.refused("evaluate", "knm", "--benchmark", outcomes, "--strong", "big", "--weak", "small")

    kinds = "abilities, bert, bert_onnx, causal_llm, default, ensemble, experts, knn, length, linear, mf, random"
    assert message.startswith(f"Unknown router 'knm'. Did you mean 'knn'? Available: {kinds}, sw_ranking.")


def test_debug_shows_the_trace_wherever_it_stands(run):
    for words in (("--debug", "data", "inspect", "nowhere.csv"), ("data", "inspect", "nowhere.csv", "--debug")):
        done = run(*words, code=1)
        assert "Traceback" in done.stderr
        assert "DataError" in done.stderr


def test_debug_after_two_dashes_is_a_prompt(run, checkpoint):
    done = run("route", "--router", checkpoint, "--json", "-", "--", "--debug")

    assert json.loads(done.stdout)["model"] in ("big", "small")


def test_a_json_file_in_a_folder_that_is_not_there_is_refused_before_any_work(run):
    message = run.refused("route", "hi", "--json", "no/such/out.json")

    assert message == "--json: no folder 'no/such' to write 'out.json' into. Make it first."


def test_completion_is_offered(run):
    env = os.environ | {"_PREFROUTE_COMPLETE": "complete_bash", "COMP_WORDS": "prefroute ev", "COMP_CWORD": "1"}

    done = subprocess.run(PROGRAM, check=False, env=env, cwd=run.folder, capture_output=True, text=True)

    assert "evaluate" in done.stdout


def test_an_interrupt_exits_with_130_and_no_trace(run, checkpoint):
    words = ["route", "--router", str(checkpoint), "--file", "-"]
    process = subprocess.Popen(
        [*PROGRAM, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("hi\n" * 2000)  # two batches: the first is answered, then it waits for more
    process.stdin.flush()
    process.stdout.readline()
    time.sleep(0.2)

    process.send_signal(signal.SIGINT)
    _, said = process.communicate()

    assert process.returncode == 130
    assert said == ""


def test_a_closed_pipe_is_no_error_to_shout_about(run, checkpoint):
    words = f"route --router {checkpoint} --file - --json -"
    line = f"yes 'What is 2 + 2?' | head -20000 | {sys.executable} -m prefroute {words} | head -1"

    done = subprocess.run(["bash", "-c", line], check=False, cwd=run.folder, capture_output=True, text=True)

    assert json.loads(done.stdout)["index"] == 0
    assert done.stderr == ""


def test_an_error_message_sends_no_escape_sequence_to_the_terminal(run):
    (run.folder / "t.csv").write_text("a\x1b[2Jb,c\nq,r\n")

    message = run.refused("data", "inspect", "t.csv")

    assert "the columns (a [2Jb, c) fit no known table" in message
