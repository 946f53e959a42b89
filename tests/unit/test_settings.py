from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from prefroute.errors import ConfigError
from prefroute.settings import cache_dir, data_dir, load_settings, openai_endpoint, starting_config


@pytest.fixture
def write(tmp_path: Path):
    def _write(text: str | bytes) -> Path:
        file = tmp_path / "prefroute.yaml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    return _write


def refused(file: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(file)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(str(file), "FILE")


def test_starting_config_is_valid_as_it_stands(write):
    settings = load_settings(write(starting_config()))

    assert settings.embedder == "static"
    assert settings.train.router == "linear"
    assert settings.evaluate.benchmarks == ("mmlu", "gsm8k", "mt-bench")
    assert settings.calibrate.strong_share == 0.5


def test_starting_config_is_valid_with_every_example_switched_on(write, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    example = re.compile(
        r"( *)# ( *(?!folds|mean_cost_usd|pgr)[a-z_]+:( \S.*)?)"
    )  # those exclude what stands beside them
    lines = [
        found[1] + found[2] if (found := example.fullmatch(line)) else line for line in starting_config().split("\n")
    ]

    settings = load_settings(write("\n".join(lines)))

    assert settings.openai is not None
    assert settings.openai.timeout_s == 60
    assert settings.evaluate.gold == 1531
    assert settings.train.tiers == 10


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "train:\n", "train: {}\n"])
def test_what_is_not_said_has_its_default(write, text):
    settings = load_settings(write(text))

    assert (settings.embedder, settings.seed, settings.train.router) == ("static", 0, "linear")


def test_windows_line_ends_and_byte_order_mark_are_read(write):
    assert load_settings(write(b"\xef\xbb\xbfseed: 7\r\nembedder: minilm\r\n")).seed == 7


def test_relative_paths_are_taken_from_the_folder_of_the_file(write, tmp_path):
    settings = load_settings(write("data_dir: d\ntrain: {data: [a.csv, /b.csv], out: runs/x}\n"))

    assert settings.data_dir == tmp_path / "d"
    assert settings.train.data == (tmp_path / "a.csv", Path("/b.csv"))
    assert settings.train.out == tmp_path / "runs/x"


def test_unknown_key_is_refused_with_the_nearest_name(write):
    message = refused(write("seed: 1\ntrain:\n  ruoter: knn\n"))

    assert message == "FILE:3: train.ruoter: not a setting (did you mean 'router'?)."


def test_unknown_key_near_nothing_lists_what_there_is(write):
    assert "FILE:1: zzz: not a setting (known: calibrate, data_dir, embedder" in refused(write("zzz: 1\n"))


def test_unknown_key_in_an_optional_section_is_refused_with_the_nearest_name(write):
    message = refused(write("openai:\n  base_ulr: http://x\n"))

    assert message == "FILE:2: openai.base_ulr: not a setting (did you mean 'base_url'?)."


def test_all_problems_are_reported_at_once_in_the_order_of_lines(write):
    message = refused(write("seed: -1\nembeder: static\ntrain:\n  tiers: 1\n  router: 5\n  router: knn\n"))

    assert message.startswith("FILE: 5 problems: FILE:1: seed: should be greater than or equal to 0, got -1; ")
    wanted = [
        "FILE:2: embeder: not a setting (did you mean 'embedder'?)",
        "FILE:4: train.tiers: should be greater than or equal to 2, got 1",
        "FILE:5: train.router: must be text, in quotes where YAML would read it as something else, got 5",
        "FILE:6: train.router: stands here twice, first on line 5",
    ]
    places = [message.index(text) for text in wanted]
    assert places == sorted(places)


def test_item_of_a_list_is_named_by_its_place(write):
    message = refused(write("evaluate:\n  benchmarks:\n    - mmlu\n    - 7\n"))

    assert (
        message
        == "FILE:4: evaluate.benchmarks.1: must be text, in quotes where YAML would read it as something else, got 7."
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("evaluate: {gold: 10, folds: 5}", "FILE:1: evaluate: set `gold` or `folds`, not both."),
        ("train: {strong: a, weak: a}", "FILE:1: train: `strong` and `weak` must be two models."),
        (
            "calibrate: {strong_share: 0.5, pgr: 0.8}",
            "FILE:1: calibrate: set one of strong_share, mean_cost_usd, pgr, not strong_share and pgr.",
        ),
        ("calibrate: {strong_share: 1.5}", "should be less than or equal to 1, got 1.5."),
        ("calibrate: {strong_share: .nan}", "FILE:1: calibrate.strong_share: should be a finite number, got nan."),
        ("calibrate: {mean_cost_usd: -1}", "should be greater than or equal to 0, got -1."),
        ("openai: {timeout_s: 0}", "should be greater than 0, got 0."),
        ("seed: yes", "FILE:1: seed: should be a valid integer, got True."),
        ("seed: '3'", "FILE:1: seed: should be a valid integer, got '3'."),
        ("train: linear", "FILE:1: train: must be a section of `key: value` lines, got 'linear'."),
        ("train: {data: a.csv}", "FILE:1: train.data: must be a list: [a, b], got 'a.csv'."),
        ("train: {data: [5]}", "FILE:1: train.data.0: must be a path, as text, got 5."),
        ("data_dir: ~no-such-user/x", "FILE:1: data_dir: ~no-such-user/x: there is no such user. Write the path out."),
        ("embedder: ''", "FILE:1: embedder: String should have at least 1 character, got ''."),
        ("- 1\n- 2", "FILE:1: the file must hold `key: value` lines, got one list."),
        ("just text", "FILE:1: the file must hold `key: value` lines, got one str."),
        ("? [a, b]\n: 1", "FILE:1: the file: a key must be a word."),
        ("seed: 2026-13-45", "FILE:1: seed: not a plain value. Quote it as text."),
        ("seed: !!python/object/apply:os.system ['true']", "FILE:1: seed: "),
        ("seed: " + "9" * 5000, "FILE:1: seed: "),
    ],
)
def test_value_that_cannot_be_is_refused(write, text, problem):
    assert problem in refused(write(text))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("train:\n\trouter: knn\n", "FILE:2: a tab stands where YAML wants spaces. Indent with spaces."),
        ("train: [1, 2\n", "FILE:2: not valid YAML: "),
        ("a: b: c\n", "FILE:1: not valid YAML: mapping values are not allowed here"),
        ("a: *nowhere\n", "FILE:1: not valid YAML: found undefined alias"),
        ("a: \x07\n", "FILE: holds a character that YAML does not allow"),
        ("a: 1\n---\nb: 2\n", "FILE:2: not valid YAML: but found another document"),
    ],
)
def test_bad_yaml_is_one_line_that_names_the_place(write, text, problem):
    assert problem in refused(write(text))


def test_anchors_that_expand_to_millions_are_refused(write):
    bomb = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    bomb += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]

    assert "expands too far" in refused(write("\n".join(bomb)))


def test_anchor_that_holds_itself_is_refused(write):
    assert "expands too far" in refused(write("train: &a\n  params: *a\n"))


def test_nesting_without_end_is_refused(write):
    assert "expands too far" in refused(write("train: " + "[" * 5000 + "]" * 5000))


def test_file_of_megabytes_is_refused(write):
    assert "larger than 1,000,000 bytes" in refused(write("# " + "x" * 1_000_001))


def test_file_that_is_not_text_is_refused(write):
    assert refused(write(b"seed: \xff\xfe")) == "FILE is not UTF-8 text (byte 6). Save it as UTF-8."


def test_missing_file_names_the_command_that_writes_one(tmp_path):
    message = refused(tmp_path / "none.yaml")

    assert "No such file or directory. Run `prefroute init` to write one." in message


def test_folder_in_place_of_a_file_is_refused(tmp_path):
    assert "Is a directory" in refused(tmp_path)


def test_environment_reference_is_replaced(write, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-canary")
    monkeypatch.setenv("MY_HOST", "localhost:1")

    openai = load_settings(write("openai:\n  api_key: ${MY_KEY}\n  base_url: http://${MY_HOST}/v1\n")).openai

    assert openai is not None
    assert openai.api_key is not None
    assert openai.api_key.get_secret_value() == "sk-canary"
    assert openai.base_url == "http://localhost:1/v1"
    assert "sk-canary" not in repr(openai)


@pytest.mark.parametrize("value", [None, ""])
def test_environment_reference_that_is_not_set_is_named(write, monkeypatch, value):
    monkeypatch.delenv("MY_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("MY_KEY", value)

    message = refused(write("openai:\n  api_key: ${MY_KEY}\n"))

    assert message == ("FILE:2: openai.api_key: the environment variable MY_KEY is not set. Set it, or drop the line.")


@pytest.mark.parametrize(
    "text", ["openai: {api_key: [sk-canary]}", "seed: ${CANARY}", "openai: {timeout_s: '${CANARY}'}"]
)
def test_secret_is_in_no_message(write, monkeypatch, text):
    monkeypatch.setenv("CANARY", "sk-canary")

    assert "sk-canary" not in refused(write(text))


def test_secret_with_a_typo_in_its_key_is_in_no_message(write):
    assert "sk-canary" not in refused(write("openai: {api_kye: sk-canary}"))


def test_data_dir_is_read_from_the_environment(monkeypatch):
    monkeypatch.setenv("PREFROUTE_DATA", "some/folder")
    assert data_dir() == Path("some/folder")

    monkeypatch.setenv("PREFROUTE_DATA", "")
    assert data_dir() is None


def test_cache_dir_is_the_variable_if_set(monkeypatch):
    monkeypatch.setenv("PREFROUTE_CACHE", "some/cache")

    assert cache_dir() == Path("some/cache")


@pytest.mark.parametrize(
    ("platform", "wanted"),
    [
        ("linux", "home/.cache/prefroute"),
        ("darwin", "home/Library/Caches/prefroute"),
        ("win32", "home/AppData/Local/prefroute/cache"),
    ],
)
def test_cache_dir_is_the_user_cache_of_the_platform(monkeypatch, platform, wanted):
    for name in ("PREFROUTE_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: Path("home"))

    assert cache_dir() == Path(wanted)


def test_cache_dir_follows_xdg(monkeypatch):
    monkeypatch.delenv("PREFROUTE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "xdg")
    monkeypatch.setattr(sys, "platform", "linux")

    assert cache_dir() == Path("xdg/prefroute")


def test_endpoint_is_openai_without_any_variable():
    assert openai_endpoint() == ("https://api.openai.com/v1", None)


def test_endpoint_of_the_general_variables(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://general/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "general")

    assert openai_endpoint() == ("http://general/v1", "general")


def test_general_key_does_not_travel_to_the_own_base_url(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "general")
    monkeypatch.setenv("PREFROUTE_OPENAI_BASE_URL", "http://own/v1")

    assert openai_endpoint() == ("http://own/v1", None)


def test_own_key_goes_before_the_general_one(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "general")
    monkeypatch.setenv("PREFROUTE_OPENAI_API_KEY", "own")

    assert openai_endpoint() == ("https://api.openai.com/v1", "own")


def test_reading_the_environment_loads_neither_pydantic_nor_yaml():
    code = "import sys, prefroute.settings; sys.exit(bool({'pydantic', 'yaml'} & set(sys.modules)))"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


_PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")


def test_every_setting_is_documented():
    from pydantic import BaseModel

    from prefroute.settings.model import OpenAISettings, Settings

    for name, field in Settings.model_fields.items():
        section = OpenAISettings if name == "openai" else type(field.default)
        if issubclass(section, BaseModel):
            assert all(f"`{name}.{key}`" in _PAGE for key in section.model_fields), name
        else:
            assert f"`{name}`" in _PAGE


def test_every_variable_is_documented():
    from prefroute.settings import environment

    source = Path(environment.__file__).read_text(encoding="utf-8")
    names = re.findall(r'variable\("([A-Z_]+)"\)', source)

    assert len(names) >= 6
    assert [name for name in names if f"`{name}`" not in _PAGE] == []
