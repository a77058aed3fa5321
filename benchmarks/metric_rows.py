"""What the checksum costs that each row of ``metrics.jsonl`` carries: rows are written and read with it and without.

append     :class:`nnray.store.metrics_log.RowLog` adds a row after an epoch, file and all
replace    a file is written anew, as when a trial is resumed: its rows become lines
read       a file's rows are read and checked (``decode``)

Without a checksum a line is ``json.dumps`` of the row, and it is read as what former versions wrote.
Figures are processor time per row and the ratio of both ways, paired round by round: the median of the rounds, with
the lowest and the highest. Sides take turns. ``--disk`` names the folder of the file (else one for temporary files).

    python benchmarks/metric_rows.py --json metric_rows.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from circumstances import circumstances

from nnray.store import metrics_log
from nnray.store.metrics_lines import Row, decode, encode

METRICS = ("train_loss", "train_acc", "val_loss", "val_acc")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all figures to this file")
    parser.add_argument("--rows", type=int, default=1000, help="rows of a file (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=31, help="rounds (default: %(default)s)")
    parser.add_argument("--disk", type=Path, help="where files are written")
    options = parser.parse_args()
    draw, loads = np.random.default_rng(0), [os.getloadavg()[0]]
    rows = [row_of(epoch, draw.random(len(METRICS))) for epoch in range(options.rows)]
    checked, plain = encode(rows)[0], plain_lines(rows)[0]
    with tempfile.TemporaryDirectory(dir=options.disk) as folder:
        path = Path(folder) / "metrics.jsonl"
        sides: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
            "append": (lambda: append(path, rows, encode), lambda: append(path, rows, plain_lines)),
            "replace": (lambda: encode(rows), lambda: plain_lines(rows)),
            "read": (lambda: decode(checked, strict=True), lambda: decode(plain)),
        }
        figures = {name: measured(*pair, options) for name, pair in sides.items()}
    loads.append(os.getloadavg()[0])
    for name, found in figures.items():
        print(f"{name:8}", "  ".join(f"{key} {value:.4g}" for key, value in found.items()))
    if options.json:
        report = {
            **circumstances(("nnray",), loads),
            "rows": options.rows,
            "bytes_over_plain": len(checked) / len(plain),
            **figures,
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    print(f"bytes    {len(checked) / options.rows:.0f} a row, {len(checked) / len(plain):.3f} of those without")


def row_of(epoch: int, values: Any) -> Row:
    """Return the row of an epoch."""
    row = {"epoch": epoch, "step": 23 * (epoch + 1), "time": 1.7e9 + 0.25 * epoch}
    return row | {name: float(value) for name, value in zip(METRICS, values, strict=True)}


def plain_lines(rows: Iterable[Row], checksum: int = 0) -> tuple[bytes, int]:
    """Return the lines of ``rows`` without checksums, in the form of :func:`nnray.store.metrics_lines.encode`."""
    return b"".join([json.dumps(row).encode() + b"\n" for row in rows]), checksum


def append(path: Path, rows: Iterable[Row], lines: Callable[..., tuple[bytes, int]]) -> None:
    """Write ``rows`` one after another to a new file."""
    path.unlink(missing_ok=True)
    metrics_log.encode = lines
    log = metrics_log.RowLog(path, [])
    for row in rows:
        log.append(row)
    log.close()
    metrics_log.encode = encode


def measured(checked: Callable[[], Any], plain: Callable[[], Any], options: argparse.Namespace) -> dict[str, float]:
    """Return microseconds per row of both sides, and their ratio."""
    seconds = [(processor_s(checked), processor_s(plain)) for _ in range(options.rounds)]
    ratios = [one / other for one, other in seconds]
    with_it, without = (1e6 * statistics.median(side) / options.rows for side in zip(*seconds, strict=True))
    return {
        "us_per_row": with_it,
        "us_per_row_without": without,
        "ratio": statistics.median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
    }


def processor_s(work: Callable[[], Any]) -> float:
    """Return the processor time that ``work`` takes."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


if __name__ == "__main__":
    main()
