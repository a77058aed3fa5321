"""``nnray report``: one page that says what the tables say."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import pytest
from trial_folders import epoch_row, write_trial

import nnray
from nnray.cli.main import main
from nnray.cli.report import report
from nnray.cli.report_pictures import Axis, Curve, line_chart, parallel_coordinates
from nnray.store.listing import SweepListing
from nnray.store.tables import write_tables
from nnray.trial.paths import StorePaths

SVG = "{http://www.w3.org/2000/svg}"


def tables(store: StorePaths) -> None:
    listing = SweepListing(store, "digits")
    listing.rescan()
    write_tables(store, "digits", listing.trials())


@pytest.fixture
def made(store: StorePaths) -> StorePaths:
    """Two widths with three seeds each, and a failure whose error is no HTML."""
    for position, (width, seed) in enumerate([(width, seed) for width in (8, 16) for seed in range(3)]):
        rows = [epoch_row(epoch, width / 100 + seed / 10 + epoch / 100) for epoch in range(3)]
        config = {"model.init_args.width": width, "seed": seed}
        write_trial(store, position=position, config=config, rows=rows, name=f"width={width} seed={seed}")
    write_trial(store, position=9, status="failed", error="<b>no</b> & no", rows=[])
    tables(store)
    return store


class Page(HTMLParser):
    """Collects the cells of tables, and checks that every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "br"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1].append(data)


def test_it_says_what_the_tables_say(made):
    text = report(nnray.open(made.root), "digits")
    rows = Page(text).rows
    assert "7 trials: 6 completed, 1 failed" in text
    best = rows[rows.index(["trial", "name", "val_acc", "best/val_acc", "duration_s"]) + 1]
    assert best[1:] == ["width=16 seed=2", "0.38", "0.38", "3"]
    means = rows[rows.index(["width", "val_acc/mean", "val_acc/std", "val_acc/ci95", "val_acc/count"]) :]
    assert means[1] == ["16", "0.28", "0.1", "0.2484", "3"]
    assert means[2] == ["8", "0.2", "0.1", "0.2484", "3"]
    assert rows[-1][2:] == ["<b>no</b> & no"]
    assert "<b>no</b>" not in text


def test_it_has_a_curve_per_setting_and_a_line_per_trial(made):
    text = report(nnray.open(made.root), "digits")
    curves, lines = map(ElementTree.fromstring, re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL))
    assert [line.find(f"{SVG}title").text for line in curves.iter(f"{SVG}polyline")] == ["width=16", "width=8"]
    assert all(len(line.get("points").split()) == 3 for line in curves.iter(f"{SVG}polyline"))
    assert len(list(lines.iter(f"{SVG}polyline"))) == 6
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


def test_of_a_sweep_without_a_result(store):
    write_trial(store, status="pending", rows=[])
    tables(store)
    text = report(nnray.open(store.root), "digits")
    Page(text)
    assert "1 trial: 1 pending" in text
    assert "<svg" not in text


def test_on_the_command_line(made, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["report", "digits", "--store", str(made.root), "--metric", "val_loss"]) == 0
    assert capsys.readouterr().out == "digits.html\n"
    text = Path("digits.html").read_text()
    assert Page(text).rows[1][1] == "width=16 seed=2"  # whose loss is smallest
    assert "val_loss over seeds" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["digit"], "there is no sweep 'digit' in"),
        (["digits", "--metric", "val_ac"], "there is no column 'val_ac'; did you mean 'val_acc'"),
        (["digits", "--out", "no/where.html"], "--out: there is no folder"),
        (["digits", "--top", "0"], "--top: 0 is not a positive number"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(made, capsys, monkeypatch, tmp_path, words, message):
    monkeypatch.chdir(tmp_path)
    assert main(["report", *words, "--store", str(made.root)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert message in captured.err


def test_higher_values_are_higher_up_and_what_is_no_number_is_left_out():
    picture = line_chart(
        [Curve("a & b", [0, 1, 2], [1.0, math.nan, 3.0], [1, math.nan, 3], [1, math.nan, 3])], "x", "y"
    )
    (line,) = ElementTree.fromstring(picture.partition("<ul")[0]).iter(f"{SVG}polyline")
    (left, low), (right, high) = (map(float, point.split(",")) for point in line.get("points").split())
    assert left < right
    assert high < low
    assert line_chart([Curve("a", [0], [math.nan], [math.nan], [math.nan])], "x", "y") == ""


def test_axes_of_words_and_of_orders_of_magnitude():
    axes = [Axis("lr", [1e-4, 1e-2, 1e-3]), Axis("kind", ["a.B", "a.C", "a.B"]), Axis("acc", [0.1, 0.3, 0.2])]
    picture = ElementTree.fromstring(parallel_coordinates(axes, [0.1, 0.3, 0.2]))
    lines = [line.get("points").split() for line in picture.iter(f"{SVG}polyline")]  # the best one on top
    heights = [[float(point.split(",")[1]) for point in line] for line in lines]
    rates = [line[0] for line in heights]
    assert rates[0] - rates[1] == pytest.approx(rates[1] - rates[2], abs=0.2)  # evenly apart: the axis is logarithmic
    assert heights[0][1] == heights[1][1] != heights[2][1]
    assert {"B", "C", "0.0001"} <= {text.text for text in picture.iter(f"{SVG}text")}
