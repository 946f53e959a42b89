"""Public sets by name, from a stand-in for the hub and GitHub on loopback (fixture `hub`)."""

import hashlib
import json
import shutil
from collections import namedtuple
from dataclasses import replace
from email.utils import formatdate

import pytest

from prefroute.data import PUBLIC_SETS, fetch
from prefroute.errors import (
    ConfigError,
    DataError,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamRefused,
    UpstreamUnavailable,
)

ARENA = "lmsys/lmsys-arena-human-preference-55k/train.csv"
JUDGE = "routellm/gpt4_judge_battles"
TABLE = b"prompt,model_a,model_b,winner\n" + b"".join(b"made up %d,x,y,tie\n" % i for i in range(2000))
TOKEN = "hf_canary0123456789"


class Killed(Exception):
    """The run ends while it waits to try again."""


def die(seconds):
    raise Killed


class Waits(list[float]):
    def __call__(self, seconds):
        self.append(seconds)


@pytest.fixture
def arena(hub):
    hub.files[ARENA] = TABLE
    return hub


@pytest.fixture
def one_file(monkeypatch):
    """RouteLLM's benchmarks cut down to one file on GitHub."""
    small = replace(PUBLIC_SETS["routellm-benchmarks"], files=("a/b.csv",))
    monkeypatch.setitem(PUBLIC_SETS, "routellm-benchmarks", small)


def held(folder):
    return json.loads((folder / "prefroute-fetch.json").read_text())


def left(folder):
    """Files beside the lock."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.name != "prefroute-fetch.json")


def test_file_arrives_whole_with_its_commit_and_checksum_in_the_lock(arena, tmp_path):
    done = fetch("lmsys-arena-55k", tmp_path / "new" / "folder")

    folder = tmp_path / "new" / "folder"
    digest = hashlib.sha256(TABLE).hexdigest()
    assert (folder / "train.csv").read_bytes() == TABLE
    assert done.revision == arena.commit
    assert done.files[0].sha256 == digest
    assert held(folder)["revision"] == arena.commit
    assert held(folder)["files"] == {"train.csv": {"size": len(TABLE), "sha256": digest}}
    assert left(folder) == ["train.csv"]


def test_next_step_names_the_file(arena, tmp_path):
    assert fetch("lmsys-arena-55k", tmp_path).use == (f"prefroute data inspect {tmp_path / 'train.csv'}",)


def test_progress_ends_at_the_size(arena, tmp_path):
    seen = []

    fetch("lmsys-arena-55k", tmp_path, progress=lambda *step: seen.append(step))

    assert seen[-1] == ("train.csv", len(TABLE), len(TABLE))


def test_token_goes_to_the_hub_and_not_where_it_redirects(arena, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)

    fetch("lmsys-arena-55k", tmp_path)

    assert [headers.get("Authorization") for headers in arena.asked("/resolve/")] == [f"Bearer {TOKEN}"]
    assert [headers.get("Authorization") for headers in arena.asked("/cdn/")] == [None]


def test_token_does_not_go_to_github(hub, one_file, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.files["lm-sys/RouteLLM/a/b.csv"] = b"x\n"

    fetch("routellm-benchmarks", tmp_path)

    assert "Authorization" not in hub.requests[0][1]


def test_second_run_goes_on_where_the_line_was_cut(arena, tmp_path):
    arena.script = [("cut", 1000)]
    with pytest.raises(Killed):
        fetch("lmsys-arena-55k", tmp_path, sleep=die)
    assert left(tmp_path) == ["train.csv.part"]
    assert (tmp_path / "train.csv.part").read_bytes() == TABLE[:1000]

    fetch("lmsys-arena-55k", tmp_path)

    assert [headers.get("Range") for headers in arena.asked("/cdn/")] == [None, "bytes=1000-"]
    assert (tmp_path / "train.csv").read_bytes() == TABLE
    assert left(tmp_path) == ["train.csv"]


def test_second_run_asks_for_the_commit_of_the_first(arena, tmp_path):
    arena.script = [("cut", 1000)]
    with pytest.raises(Killed):
        fetch("lmsys-arena-55k", tmp_path, sleep=die)

    fetch("lmsys-arena-55k", tmp_path)

    asked = [path.split("/")[5] for path, _ in arena.requests if "/resolve/" in path]
    assert asked == ["main", arena.commit]


def test_a_cut_line_is_taken_up_again_in_the_same_run(arena, tmp_path):
    arena.script = [("cut", 1000), ("cut", 5000)]
    waits = Waits()

    fetch("lmsys-arena-55k", tmp_path, sleep=waits)

    assert (tmp_path / "train.csv").read_bytes() == TABLE
    assert [headers.get("Range") for headers in arena.asked("/cdn/")] == [None, "bytes=1000-", "bytes=5000-"]
    assert waits == [0.5, 1.0]


def test_part_that_was_whole_already_gets_its_name(arena, tmp_path):
    (tmp_path / "train.csv.part").write_bytes(TABLE)

    fetch("lmsys-arena-55k", tmp_path)

    assert left(tmp_path) == ["train.csv"]


def test_part_longer_than_the_file_is_dropped(arena, tmp_path):
    (tmp_path / "train.csv.part").write_bytes(TABLE + b"more")

    fetch("lmsys-arena-55k", tmp_path, sleep=Waits())

    assert (tmp_path / "train.csv").read_bytes() == TABLE


def test_host_without_ranges_sends_the_file_again_from_the_start(arena, tmp_path):
    arena.ranges = False
    (tmp_path / "train.csv.part").write_bytes(b"prompt")

    fetch("lmsys-arena-55k", tmp_path)

    assert (tmp_path / "train.csv").read_bytes() == TABLE


def test_other_bytes_than_the_hub_says_are_dropped(arena, tmp_path):
    arena.checksum = "ab" * 32

    with pytest.raises(UpstreamError, match=r"checksum \(SHA-256\) \w{12}\.\.\., where abababababab"):
        fetch("lmsys-arena-55k", tmp_path)

    assert left(tmp_path) == []


def test_part_of_another_file_is_found_by_the_checksum_and_dropped(arena, tmp_path):
    (tmp_path / "train.csv.part").write_bytes(b"x" * 1000)

    with pytest.raises(UpstreamError, match="checksum"):
        fetch("lmsys-arena-55k", tmp_path)

    assert left(tmp_path) == []


def test_file_that_changes_at_its_source_after_the_first_fetch_is_refused(hub, one_file, tmp_path):
    hub.files["lm-sys/RouteLLM/a/b.csv"] = b"one\n"
    fetch("routellm-benchmarks", tmp_path)
    (tmp_path / "a/b.csv").unlink()
    hub.files["lm-sys/RouteLLM/a/b.csv"] = b"two\n"

    with pytest.raises(UpstreamError, match="checksum"):
        fetch("routellm-benchmarks", tmp_path)

    assert left(tmp_path) == []


def test_lock_that_was_put_there_first_holds_the_first_fetch_too(hub, one_file, tmp_path):
    hub.files["lm-sys/RouteLLM/a/b.csv"] = b"one\n"
    fetch("routellm-benchmarks", tmp_path / "mine")
    (tmp_path / "yours").mkdir()
    shutil.copy(tmp_path / "mine" / "prefroute-fetch.json", tmp_path / "yours")
    hub.files["lm-sys/RouteLLM/a/b.csv"] = b"two\n"

    with pytest.raises(UpstreamError, match="checksum"):
        fetch("routellm-benchmarks", tmp_path / "yours")


def test_hub_that_moved_on_from_the_commit_of_the_lock_is_refused(arena, tmp_path):
    fetch("lmsys-arena-55k", tmp_path)
    (tmp_path / "train.csv").unlink()
    arena.commit = "d" * 40

    with pytest.raises(UpstreamError, match="served from the commit dddddddddddd, where c0ffeec0ffee was wanted"):
        fetch("lmsys-arena-55k", tmp_path)


@pytest.mark.parametrize("status", [401, 403])
def test_gated_set_says_what_to_do_and_never_the_token(arena, tmp_path, monkeypatch, status):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    arena.script = [("status", (status, {}))]

    with pytest.raises(UpstreamRefused, match=r"gated, .* the token was not accepted\. .* set HF_TOKEN") as caught:
        fetch("lmsys-arena-55k", tmp_path)

    assert TOKEN not in str(caught.value)


def test_gated_set_without_a_token_says_that_none_was_sent(arena, tmp_path):
    arena.script = [("status", (401, {}))]

    with pytest.raises(UpstreamRefused, match="no token was sent"):
        fetch("lmsys-arena-55k", tmp_path)


def test_missing_file_is_not_asked_for_twice(hub, tmp_path):
    with pytest.raises(UpstreamRefused, match=r"answered 404 for .*train.csv"):
        fetch("lmsys-arena-55k", tmp_path)

    assert len(hub.asked("/cdn/")) == 1
    assert left(tmp_path) == []


def test_web_page_instead_of_the_file_is_refused(arena, tmp_path):
    arena.script = [("status", (200, {"Content-Type": "text/html; charset=utf-8"}))]

    with pytest.raises(UpstreamProtocolError, match="with a web page"):
        fetch("lmsys-arena-55k", tmp_path)

    assert left(tmp_path) == []


def test_500_is_tried_again(arena, tmp_path):
    arena.script = [("status", (500, {})), ("status", (503, {}))]
    waits = Waits()

    fetch("lmsys-arena-55k", tmp_path, sleep=waits)

    assert (tmp_path / "train.csv").read_bytes() == TABLE
    assert waits == [0.5, 1.0]


def test_500_for_good_is_given_up_after_five_attempts(arena, tmp_path):
    arena.script = [("status", (500, {}))] * 9

    with pytest.raises(UpstreamUnavailable, match="answered 500"):
        fetch("lmsys-arena-55k", tmp_path, sleep=Waits())

    assert len(arena.asked("/cdn/")) == 5


@pytest.mark.parametrize(
    ("said", "wait_s"),
    [("7", 7.0), ("300", 300.0), ("86400", 600.0), (formatdate(4102444800, usegmt=True), 600.0), ("\xb2", 0.5)],
    ids=["seconds", "minutes", "a day", "a date", "no number"],
)
def test_429_waits_as_long_as_it_is_asked_to_up_to_ten_minutes(arena, tmp_path, said, wait_s):
    arena.script = [("status", (429, {"Retry-After": said}))]
    waits = Waits()

    fetch("lmsys-arena-55k", tmp_path, sleep=waits)

    assert waits == [wait_s]


def test_endpoint_that_nobody_listens_on_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")

    with pytest.raises(UpstreamUnavailable, match=r"127\.0\.0\.1:9 cannot be reached: "):
        fetch("lmsys-arena-55k", tmp_path, sleep=Waits())


@pytest.mark.parametrize("target", ["http://files.invalid/x", "file:///etc/hostname", "ftp://files.invalid/x"])
def test_redirect_to_anything_but_https_is_refused(arena, tmp_path, target):
    arena.script = [("to", target)]

    with pytest.raises(UpstreamProtocolError, match="only https is followed"):
        fetch("lmsys-arena-55k", tmp_path)

    assert left(tmp_path) == []


def test_redirects_in_a_circle_end(arena, tmp_path):
    arena.script = [("to", f"{arena.url}/cdn/{ARENA}")] * 9

    with pytest.raises(UpstreamProtocolError, match="redirects more than 5 times"):
        fetch("lmsys-arena-55k", tmp_path)


def test_endpoint_in_the_clear_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")

    with pytest.raises(ConfigError, match=r"over https only, got http://hub\.invalid"):
        fetch("lmsys-arena-55k", tmp_path)


def test_what_is_there_is_checked_and_not_fetched_again(arena, tmp_path):
    fetch("lmsys-arena-55k", tmp_path)
    before = len(arena.requests)

    again = fetch("lmsys-arena-55k", tmp_path)

    assert len(arena.requests) == before
    assert again.files[0].was_there


@pytest.mark.parametrize("fetched_before", [True, False])
def test_file_of_the_users_own_is_left_alone(arena, tmp_path, fetched_before):
    if fetched_before:
        fetch("lmsys-arena-55k", tmp_path)
    (tmp_path / "train.csv").write_text("mine")

    with pytest.raises(DataError, match="was changed since" if fetched_before else "was there before"):
        fetch("lmsys-arena-55k", tmp_path)

    assert (tmp_path / "train.csv").read_text() == "mine"


def test_folder_of_another_set_is_refused(arena, tmp_path):
    fetch("lmsys-arena-55k", tmp_path)

    with pytest.raises(DataError, match=r"holds lmsys/.* and routellm/gpt4_judge_battles at 2a1afe8d"):
        fetch("routellm-gpt4-judge", tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"repository": 1}', '{"repository": "x", "revision": null, "files": 3}'])
def test_broken_lock_is_said(arena, tmp_path, text):
    (tmp_path / "prefroute-fetch.json").write_text(text)

    with pytest.raises(DataError, match="is not a lock file of `data fetch`"):
        fetch("lmsys-arena-55k", tmp_path)


def test_hub_list_says_which_parquet_files_there_are(hub, tmp_path):
    hub.commit = PUBLIC_SETS["routellm-gpt4-judge"].revision
    hub.files = {f"{JUDGE}/README.md": b"read", f"{JUDGE}/data/b.parquet": b"bb", f"{JUDGE}/data/a.parquet": b"aa"}

    done = fetch("routellm-gpt4-judge", tmp_path)

    assert [file.path for file in done.files] == ["data/a.parquet", "data/b.parquet"]
    assert (tmp_path / "data" / "b.parquet").read_bytes() == b"bb"
    assert done.use == (f"prefroute data inspect '{tmp_path}/data/*.parquet'",)
    assert hub.requests[0][0] == f"/api/datasets/{JUDGE}/tree/{hub.commit}?recursive=true"


def test_list_without_fitting_files_says_what_there_is(hub, tmp_path):
    hub.files = {f"{JUDGE}/README.md": b"read"}

    with pytest.raises(UpstreamError, match=r"holds no \*\.parquet, only README\.md"):
        fetch("routellm-gpt4-judge", tmp_path)


@pytest.mark.parametrize("path", ["../x.parquet", "a/../../x.parquet", "/x.parquet", "a\\x.parquet", "c:x.parquet"])
def test_list_that_leads_out_of_the_folder_is_refused(hub, tmp_path, path):
    hub.files = {f"{JUDGE}/{path}": b"x"}

    with pytest.raises(UpstreamProtocolError, match="leads out of the folder"):
        fetch("routellm-gpt4-judge", tmp_path / "in")

    assert left(tmp_path) == []


def test_full_disk_is_seen_before_the_first_byte(arena, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(100, 90, 10))

    with pytest.raises(DataError, match=r"has 10 bytes free, and train\.csv needs [\d,]+ more\. Nothing was left"):
        fetch("lmsys-arena-55k", tmp_path)

    assert left(tmp_path) == []


def test_to_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")

    with pytest.raises(ConfigError, match="--to must be a folder"):
        fetch("lmsys-arena-55k", tmp_path / "file")


def test_unknown_set_names_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match=r"Unknown public set 'lmsys-arena'\. Did you mean 'lmsys-arena-55k'\?"):
        fetch("lmsys-arena", tmp_path)


def test_routerbench_is_refused_before_anything_is_asked(hub, tmp_path):
    with pytest.raises(ConfigError, match=r"routerbench is not fetched: it is published as pickles only"):
        fetch("routerbench", tmp_path)

    assert hub.requests == []


def test_no_set_brings_a_pickle():
    names = [path for it in PUBLIC_SETS.values() for path in it.files]

    assert [name for name in names if name.endswith((".pkl", ".pickle", ".pt", ".npy"))] == []


def test_every_revision_is_a_full_commit_or_none():
    assert all(it.revision is None or len(it.revision) == 40 for it in PUBLIC_SETS.values())
    assert all(it.revision for it in PUBLIC_SETS.values() if it.host == "github"), "raw files name no commit"


def test_benchmark_files_lie_where_the_benchmarks_look_for_them(hub, tmp_path):
    chosen = PUBLIC_SETS["routellm-benchmarks"]
    hub.files = {f"lm-sys/RouteLLM/{path}": path.encode() for path in chosen.files}

    done = fetch("routellm-benchmarks", tmp_path)

    assert len(list((tmp_path / "routellm/evals/mmlu/responses").glob("mmlu_*.csv"))) == 57  # MMLU has 57 subjects
    assert done.revision == chosen.revision
    assert all(path.split("/")[3] == chosen.revision for path, _ in hub.requests)
