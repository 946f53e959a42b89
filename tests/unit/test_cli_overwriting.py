"""An output that is also an input, however it is spelled, is refused before any work, and the input stays whole."""

from pathlib import Path

import pytest

from prefroute.cli.app import main
from prefroute.cli.output import Output
from prefroute.errors import ConfigError

TABLE = "prompt,big,small\n" + "".join(f"question {i},1,{i % 2}\n" for i in range(30))
PAIR = ("--strong", "big", "--weak", "small")


@pytest.fixture
def table(tmp_path, monkeypatch) -> Path:
    """A table named `t.csv` in the working directory."""
    monkeypatch.chdir(tmp_path)
    file = Path(tmp_path, "t.csv")
    file.write_text(TABLE, encoding="utf-8")
    return file


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The message of a command that must refuse in one line with exit code 2."""
    with pytest.raises(SystemExit) as exit_:
        main(words)
    said = capsys.readouterr().err.splitlines()
    assert (exit_.value.code, len(said)) == (2, 1), said
    return said[0]


@pytest.mark.parametrize(
    "words",
    [
        ("data", "inspect", "t.csv", "--json", "t.csv"),
        ("data", "split", "t.csv", "--out", "parts", "--json", "t.csv"),
        ("data", "check", "t.csv", "--against", "t.csv", "--json", "t.csv"),
        ("data", "phrases", "t.csv", *PAIR, "--json", "t.csv"),
        ("augment", "gold", "t.csv", "--out", "t.csv"),
        ("augment", "judge", "t.csv", *PAIR, "--judge", "j", "--state", "s", "--out", "t.csv"),
        ("train", "linear", "--data", "t.csv", *PAIR, "--out", "r", "--json", "t.csv"),
        ("train", "linear", "--source", "a=t.csv", *PAIR, "--out", "r", "--json", "t.csv"),
        ("adapt", "--data", "t.csv", *PAIR, "--out", "r", "--json", "t.csv"),
        ("evaluate", "length", "--benchmark", "t.csv", *PAIR, "--json", "t.csv"),
        ("evaluate", "length", "--benchmark", "t.csv", *PAIR, "--markdown", "t.csv"),
        ("evaluate", "linear", "--benchmark", "mmlu", "--train-on", "t.csv", "--html", "t.csv"),
        ("calibrate", "default", "--prompts", "t.csv", "--strong-share", "0.3", "--json", "t.csv"),
        ("calibrate", "default", "--outcomes", "t.csv", "--strong-share", "0.3", "--json", "t.csv"),
        ("route", "--file", "t.csv", "--json", "t.csv"),
    ],
    ids=lambda words: " ".join(words[:2] + words[-2:]),
)
def test_a_command_never_writes_over_its_input(table, capsys, words):
    assert "would write over 't.csv', which is read here." in refused(capsys, *words)
    assert table.read_text(encoding="utf-8") == TABLE
    assert [file.name for file in Path().iterdir()] == ["t.csv"]


def test_the_gateways_file_and_its_journal_are_never_written_over(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    for line in ("init --gateway", "keys create gateway.yaml search"):
        with pytest.raises(SystemExit) as exit_:
            main(line.split())
        assert not exit_.value.code
    capsys.readouterr()
    journal = next(file for file in Path().iterdir() if file.name != "gateway.yaml")
    before = {file: file.read_bytes() for file in (Path("gateway.yaml"), journal)}

    for output in ("gateway.yaml", str(journal)):
        for line in ("keys list gateway.yaml", "report gateway.yaml"):
            assert "would write over" in refused(capsys, *line.split(), "--json", output)

    assert {file: file.read_bytes() for file in before} == before


@pytest.mark.parametrize("spelling", ["./t.csv", "folder/../t.csv", "soft.csv", "hard.csv"])
def test_no_spelling_and_no_link_hides_that_a_file_is_read(table, spelling):
    Path("folder").mkdir()
    Path("soft.csv").symlink_to("t.csv")
    Path("hard.csv").hardlink_to("t.csv")

    with pytest.raises(ConfigError, match="would write over"):
        Output(spelling).spare("t.csv")


@pytest.mark.parametrize("source", [".", "*.csv"])
def test_the_tables_of_a_folder_or_glob_are_spared_and_its_other_files_are_not(table, source):
    with pytest.raises(ConfigError, match="would write over"):
        Output("t.csv").spare(source)
    Path("report.json").write_text("{}", encoding="utf-8")

    Output("report.json").spare(source)


def test_the_prompts_beside_a_table_are_spared(table):
    Path("prompts.csv").write_text("id,prompt\n1,hi\n", encoding="utf-8")

    with pytest.raises(ConfigError, match=r"'prompts\.csv'"):
        Output("prompts.csv").spare("t.csv")


def test_the_files_of_a_checkpoint_are_spared_and_a_report_beside_them_is_not(tmp_path):
    for name in ("router.json", "weights.safetensors", "README.md", "report.json"):
        (tmp_path / name).touch()

    for name in ("router.json", "weights.safetensors", "README.md"):
        with pytest.raises(ConfigError, match="would write over"):
            Output(str(tmp_path / name)).spare(tmp_path)
    Output(str(tmp_path / "report.json")).spare(tmp_path)


def test_a_folder_that_may_not_be_written_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)  # whoever runs tests as root may write all

    with pytest.raises(ConfigError, match=r"--json: the folder of .* may not be written"):
        Output(str(tmp_path / "x.json"))


def test_two_outputs_in_one_file_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="--html and --json are one file"):
        Output(str(tmp_path / "x"), {"--html": tmp_path / "." / "x"})


def test_a_device_may_be_read_and_written():
    Output("/dev/null", {"--out": Path("/dev/null")}).spare("/dev/null")
