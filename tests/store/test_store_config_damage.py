"""Damage to ``config.yaml`` is noticed, whatever it is; copies may be changed, and former versions' files are read."""

from __future__ import annotations

from pathlib import Path

import pytest
from trial_folders import write_trial

from nnray.errors import StoreError
from nnray.store.flat_config import read_flat_config
from nnray.store.stored_trial import StoredTrial
from nnray.trial import read_configuration_file, resolve
from nnray.trial.config_file import with_checksum
from nnray.trial.paths import StorePaths, TrialPaths

CONFIGURATION = resolve({"model": "MLP", "data": "Digits", "optimizer.lr": 0.001})


@pytest.fixture
def paths(tmp_path: Path) -> TrialPaths:
    """A trial whose configuration is written as a sweep writes it."""
    folder = write_trial(StorePaths(tmp_path))
    folder.config.write_text(with_checksum(CONFIGURATION.yaml()))
    return folder


def test_flipped_bits_and_cuts_are_noticed(paths: TrialPaths) -> None:
    whole = paths.config.read_bytes()
    comment = whole.index(b"\n") + 1
    flips = [(place, bit) for place in range(comment) for bit in range(8)]
    flips += [(place, place % 8) for place in range(comment, len(whole))]
    damaged = [whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :] for place, bit in flips]
    damaged += [whole[:size] for size in (*range(comment + 1), len(whole) // 2, len(whole) - 1)]
    for content in damaged:
        paths.config.write_bytes(content)
        with pytest.raises(StoreError, match=r"config\.yaml"):
            StoredTrial(paths).config  # noqa: B018 - reading it raises
        with pytest.raises(StoreError, match=r"config\.yaml"):
            read_flat_config(paths)


def test_what_was_written_is_read(paths: TrialPaths) -> None:
    assert StoredTrial(paths).config == CONFIGURATION.values
    assert read_flat_config(paths)["optimizer.init_args.lr"] == 0.001


def test_what_former_versions_wrote_is_read(paths: TrialPaths) -> None:
    paths.config.write_text(CONFIGURATION.yaml())
    assert StoredTrial(paths).config == CONFIGURATION.values
    assert read_flat_config(paths)["optimizer.init_args.lr"] == 0.001


def test_a_copy_elsewhere_may_be_changed(paths: TrialPaths, tmp_path: Path) -> None:
    copy = tmp_path / "config.yaml"
    copy.write_text(paths.config.read_text().replace("lr: 0.001", "lr: 0.002"))
    assert read_configuration_file(copy)["optimizer"]["init_args"]["lr"] == 0.002
