"""Sizes as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnray.sizes import parse_size, size_text


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("20GB", 20 * 10**9),
        ("20GiB", 20 * 2**30),
        ("500MB", 500 * 10**6),
        ("1.5 kB", 1500),
        (" 7 b ", 7),
        (".5TiB", 2**39),
        ("0", 0),
        ("0GB", 0),
    ],
)
def test_a_number_and_a_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "20", "GB", "-1GB", "20 Gb/s", "1e3MB", "20 XB", "1,5GB", "nan GB"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no size: give a number and a unit, as in 20GB, 20GiB or 500MB"):
        parse_size(text)


@given(st.integers(0, 10**17))
def test_what_is_shown_means_the_same_to_three_digits(size: int) -> None:
    assert parse_size(size_text(size)) == pytest.approx(size, rel=0.006, abs=1)
