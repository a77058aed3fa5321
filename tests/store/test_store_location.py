"""Which folder is the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnray.store.location import STORE_VARIABLE, store_paths


@pytest.mark.parametrize(
    ("given", "place"),
    [("a/../b", "b"), ("../here/b/", "b"), ("./b/.", "b"), (Path("b/../../here/c"), "c"), (None, "nnray-store")],
    ids=str,
)
def test_a_store_is_named_without_detours(given, place, tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.delenv(STORE_VARIABLE, raising=False)
    assert str(store_paths(given).root) == str(here / place)


def test_the_variable_names_it_where_nothing_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv(STORE_VARIABLE, f"{tmp_path}/a/../b")
    assert str(store_paths().root) == f"{tmp_path}/b"
    assert store_paths("/c").root == Path("/c")


def test_a_link_to_a_store_keeps_its_name(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    assert store_paths(tmp_path / "link" / "b").root == tmp_path / "link" / "b"
