"""Checkpoints are written whole or not at all, and read only when every byte is what was written."""

from __future__ import annotations

import errno
import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save as tensors_bytes

from prefroute.checkpoint import fingerprint, load, open_checkpoint, save_checkpoint, save_policy
from prefroute.checkpoint.manifest import MANIFEST, POLICY, TRAINING, WEIGHTS, seal, sha256_of
from prefroute.data import PromptKeys
from prefroute.errors import CheckpointError, NotFittedError
from prefroute.policy import CostQuality, Threshold
from prefroute.routers.knn import KNN
from prefroute.routers.length import Length
from prefroute.routers.random import Random
from prefroute.testing import HashEmbedder, tiny_outcomes


@pytest.fixture
def router() -> KNN:
    return KNN("big", "small", HashEmbedder()).fit(tiny_outcomes())


@pytest.fixture
def saved(router: KNN, tmp_path: Path) -> Path:
    folder = tmp_path / "saved"
    keys = PromptKeys.of(tiny_outcomes().prompts)
    save_checkpoint(router, folder, training=keys, policy=Threshold(0.5), training_data=[{"name": "tiny", "rows": 60}])
    return folder


def refused(folder: Path, match: str, **given) -> None:
    """Opening fails with one line that matches."""
    with pytest.raises(CheckpointError, match=match) as raised:
        open_checkpoint(folder, **({"embedder": HashEmbedder()} | given))
    assert "\n" not in str(raised.value)


def rewrite(folder: Path, **changes) -> None:
    """Change entries of the manifest and seal it again, as a forger would."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    files = manifest["files"] | {name: sha256_of(folder / name) for name in manifest["files"] if name == WEIGHTS}
    (folder / MANIFEST).write_text(json.dumps(seal(manifest | {"files": files} | changes)))


def test_everything_that_was_saved_is_found_again(router, saved):
    checkpoint = open_checkpoint(saved, embedder=HashEmbedder())

    assert np.array_equal(checkpoint.router.win_rate(["fix a bug"]), router.win_rate(["fix a bug"]))
    assert checkpoint.fingerprint == fingerprint(router)
    assert checkpoint.policy == Threshold(0.5)
    assert checkpoint.training is not None
    assert len(checkpoint.training) == len(set(tiny_outcomes().prompts))
    assert checkpoint.manifest["training_data"] == [{"name": "tiny", "rows": 60}]
    assert checkpoint.manifest["models"] == ["big", "middle", "small"]


def test_hashes_of_training_prompts_are_left_out_for_who_only_scores(saved):
    assert open_checkpoint(saved, embedder=HashEmbedder(), with_training=False).training is None


def test_known_router_is_taken_in_place_of_a_second_one(router, saved):
    opened = open_checkpoint(saved, known={fingerprint(router): router})  # its embedder could not be opened
    other = open_checkpoint(saved, embedder=HashEmbedder(), known={"0" * 64: router})

    assert opened.router is router
    assert opened.policy == Threshold(0.5)
    assert other.router is not router


def test_load_gives_the_router(saved):
    assert load(saved, embedder=HashEmbedder()).params()["k"] == 200


def test_two_saves_write_the_same_bytes(router, tmp_path):
    for name in ("a/same", "b/same"):
        save_checkpoint(router, tmp_path / name)

    for path in (tmp_path / "a/same").iterdir():
        assert path.read_bytes() == (tmp_path / "b/same" / path.name).read_bytes()


def test_router_without_embedder_or_arrays_is_saved(tmp_path):
    save_checkpoint(Length("big", "small").fit(tiny_outcomes()), tmp_path / "length")

    assert open_checkpoint(tmp_path / "length").manifest["embedder"] is None


def test_fingerprint_changes_with_a_parameter_and_with_data():
    data = tiny_outcomes()
    names = {
        fingerprint(KNN("big", "small", HashEmbedder(), k=k).fit(table))
        for k in (3, 4)
        for table in (data, tiny_outcomes(50))
    }

    assert len(names) == 4


def test_model_card_names_data_and_how_to_load(saved):
    card = (saved / "README.md").read_text()

    assert "name: tiny, rows: 60" in card
    assert 'prefroute.load("saved")' in card


def test_no_prompt_text_is_written(saved):
    assert not any(b"fix a bug" in path.read_bytes() for path in saved.iterdir())


def test_unfitted_router_is_not_saved(tmp_path):
    with pytest.raises(NotFittedError):
        save_checkpoint(Random("big", "small"), tmp_path / "new")

    assert not list(tmp_path.iterdir())


def test_nan_never_reaches_a_checkpoint(router, tmp_path):
    router.centre_ = router.centre_ * np.nan

    with pytest.raises(CheckpointError, match="'centre' holds NaN or infinity"):
        save_checkpoint(router, tmp_path / "new")

    assert not list(tmp_path.iterdir())


def test_nan_among_metrics_is_refused(router, tmp_path):
    with pytest.raises(CheckpointError, match="finite JSON values"):
        save_checkpoint(router, tmp_path / "new", metrics={"apgr": float("nan")})


def test_folder_with_other_files_is_left_alone(router, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")

    with pytest.raises(CheckpointError, match="no checkpoint"):
        save_checkpoint(router, tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_file_in_the_place_of_the_folder_is_left_alone(router, tmp_path):
    (tmp_path / "file").write_text("content")

    with pytest.raises(CheckpointError, match="is a file"):
        save_checkpoint(router, tmp_path / "file")


def test_saving_again_replaces_the_old_checkpoint_whole(saved):
    save_checkpoint(Length("big", "small").fit(tiny_outcomes()), saved)

    assert sorted(path.name for path in saved.iterdir()) == ["README.md", MANIFEST, WEIGHTS]
    assert [path.name for path in saved.parent.iterdir()] == ["saved"]


def test_what_lies_beside_a_checkpoint_outlives_its_replacement(saved):
    (saved / "notes").mkdir()
    (saved / "notes" / "thesis.txt").write_text("years of work")
    (saved / ".gitignore").write_text("*")

    save_checkpoint(Length("big", "small").fit(tiny_outcomes()), saved)

    assert (saved / "notes" / "thesis.txt").read_text() == "years of work"
    assert sorted(path.name for path in saved.iterdir()) == [".gitignore", "README.md", "notes", MANIFEST, WEIGHTS]
    assert open_checkpoint(saved).manifest["kind"] == "length"
    assert [path.name for path in saved.parent.iterdir()] == ["saved"]


def test_what_cannot_be_moved_back_beside_the_new_checkpoint_is_kept_and_named(saved, monkeypatch):
    (saved / "thesis.txt").write_text("years of work")
    rename = Path.rename

    def fail_for_the_thesis(self: Path, target: Path) -> Path:
        if self.name == "thesis.txt":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_for_the_thesis)
    with pytest.raises(CheckpointError, match=r"was saved, but 'thesis\.txt'.* could not be moved back"):
        save_checkpoint(Length("big", "small").fit(tiny_outcomes()), saved)

    assert [path.read_text() for path in saved.parent.rglob("thesis.txt")] == ["years of work"]
    assert open_checkpoint(saved).manifest["kind"] == "length"


def test_full_disk_leaves_the_old_checkpoint_and_nothing_else(saved, monkeypatch):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}

    def no_space(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(CheckpointError, match=r"No space left on device\. What was there is unchanged"):
        save_checkpoint(Length("big", "small").fit(tiny_outcomes()), saved)
    with pytest.raises(CheckpointError, match=r"No space left on device\. Nothing was changed"):
        save_policy(saved, Threshold(0.1), json.loads(before[MANIFEST])["fingerprint"])

    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
    assert [path.name for path in saved.parent.iterdir()] == ["saved"]


def test_failing_exchange_puts_the_old_checkpoint_back(saved, monkeypatch):
    rename = Path.rename

    def fail_for_new(self: Path, target: Path) -> Path:
        if self.suffix == ".new":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_for_new)
    with pytest.raises(CheckpointError, match="unchanged"):
        save_checkpoint(Length("big", "small").fit(tiny_outcomes()), saved)

    assert open_checkpoint(saved, embedder=HashEmbedder()).manifest["kind"] == "knn"


@pytest.mark.parametrize("name", [WEIGHTS, TRAINING, MANIFEST, POLICY, "README.md"])
def test_flipped_bit_in_any_file_is_noticed(saved, name):
    content = (saved / name).read_bytes()
    for place in (0, len(content) // 3, len(content) // 2, len(content) - 3):
        flipped = bytearray(content)
        flipped[place] ^= 1
        (saved / name).write_bytes(flipped)

        refused(saved, name)


@pytest.mark.parametrize("name", [WEIGHTS, MANIFEST, TRAINING])
def test_truncated_file_is_noticed_at_every_length(saved, name):
    content = (saved / name).read_bytes()
    for length in range(0, len(content), max(1, len(content) // 20)):
        (saved / name).write_bytes(content[:length])

        refused(saved, name)


def test_missing_file_is_named(saved):
    (saved / WEIGHTS).unlink()

    refused(saved, f"lacks {WEIGHTS}")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 10) + b"not json!!",
        b"\x80\x04\x95pickle",
    ],
    ids=["empty", "header-of-2**63-bytes", "no-json", "pickle"],
)
def test_forged_weights_that_are_no_safetensors_are_refused(saved, content):
    (saved / WEIGHTS).write_bytes(content)
    rewrite(saved)

    refused(saved, "not a sound safetensors file")


def test_overlapping_offsets_are_refused(saved):
    header = json.dumps({name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for name in ("a", "b")}).encode()
    (saved / WEIGHTS).write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    rewrite(saved)

    refused(saved, "not a sound safetensors file")


def forge(saved: Path, router: KNN, change) -> None:
    arrays = dict(router.state().arrays)
    change(arrays)
    (saved / WEIGHTS).write_bytes(tensors_bytes({name: np.ascontiguousarray(array) for name, array in arrays.items()}))
    rewrite(saved)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda arrays: arrays.pop("centre"), r"missing \['centre'\]"),
        (lambda arrays: arrays.update(more=np.zeros(1)), r"unknown \['more'\]"),
        (lambda arrays: arrays.update(centre=arrays["centre"].astype(np.float64)), "Tensor 'centre' must be"),
        (lambda arrays: arrays.update(centre=arrays["centre"] * np.nan), "'centre' holds NaN or infinity"),
        (lambda arrays: arrays.update(centre=arrays["centre"] + 1), "does not hold the router that it names"),
    ],
    ids=["missing", "extra", "dtype", "nan", "value"],
)
def test_forged_tensor_is_refused(saved, router, change, match):
    forge(saved, router, change)

    refused(saved, match)


def test_newer_format_asks_for_an_upgrade(saved):
    rewrite(saved, format=2)

    refused(saved, "format 2, newer than this prefroute reads")


@pytest.mark.parametrize("name", ["../other", "/etc/passwd", "weights.pt"])
def test_manifest_that_names_another_file_is_refused(saved, name):
    rewrite(saved, files={WEIGHTS: "0", name: "0"})

    refused(saved, "Nothing else is opened")


def test_kind_that_is_not_installed_is_named(saved):
    rewrite(saved, kind="knm")

    refused(saved, "does not hold the router")


@pytest.mark.parametrize("name", [WEIGHTS, MANIFEST, POLICY])
def test_link_and_pipe_are_not_read(saved, name):
    aside = saved / name
    elsewhere = saved.parent / "elsewhere"
    aside.rename(elsewhere)
    aside.symlink_to(elsewhere)
    refused(saved, "plain file")
    aside.unlink()
    os.mkfifo(aside)

    refused(saved, "plain file")


def test_deeply_nested_manifest_is_refused(saved):
    (saved / MANIFEST).write_text("[" * 100_000)

    refused(saved, "not valid JSON")


@pytest.mark.parametrize("suffix", [".pt", ".pkl", ".npy", ".PTH"])
def test_pickle_in_the_place_of_a_folder_is_called_unsafe(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"\x80\x04\x95")

    refused(path, "unsafe format")


def test_missing_folder_and_folder_without_manifest_are_told_apart(tmp_path):
    refused(tmp_path / "nowhere", "is not a folder")
    refused(tmp_path, "is no checkpoint")


def test_another_embedder_is_refused_by_id_and_by_dimensions(saved):
    other = HashEmbedder(8)
    refused(saved, "trained on vectors of 'hash-16'", embedder=other)
    other.id = "hash-16"

    refused(saved, r"\(16 dimensions\), got embedder 'hash-16' \(8\)", embedder=other)


def test_embedder_is_opened_by_its_spec(saved):
    asked: list[str] = []

    def opener(spec: str) -> HashEmbedder:
        asked.append(spec)
        return HashEmbedder()

    open_checkpoint(saved, opener=opener)

    assert asked == ["hash-16"]


def test_policy_for_another_router_is_refused_when_saved_and_when_read(saved, router):
    other = fingerprint(KNN("big", "small", HashEmbedder(), k=3).fit(tiny_outcomes()))
    with pytest.raises(CheckpointError, match="scores are not comparable"):
        save_policy(saved, Threshold(0.5), other)
    (saved / POLICY).write_text(
        json.dumps(seal({"format": 1, "fingerprint": other, "policy": Threshold(0.5).to_dict()}))
    )

    refused(saved, "scores are not comparable. Run: prefroute calibrate")


def test_saved_policy_replaces_the_older_one(saved, router):
    save_policy(saved, CostQuality(2.0), fingerprint(router))

    assert open_checkpoint(saved, embedder=HashEmbedder()).policy == CostQuality(2.0)


def test_policy_out_of_range_is_refused(saved, router):
    stored = {"format": 1, "fingerprint": fingerprint(router), "policy": {"kind": "threshold", "alpha": 1.5}}
    (saved / POLICY).write_text(json.dumps(seal(stored)))

    refused(saved, "holds no policy that can be used")
