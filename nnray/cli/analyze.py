"""Study the layers of a sweep's networks; what is computed already is not computed again.

  nnray analyze cka --sweep digits --layers 'block*' --plot cka.pdf         every layer against every other
  nnray analyze compare --sweep digits --measure svcca --option variance=0.9 --same layer   pairs by any measure
  nnray analyze figures --sweep digits --which participation_ratio,two_nn   figures of every layer
  nnray analyze probe --sweep digits --epochs all                           what a linear probe reads, by epoch
  nnray analyze weights --sweep digits --which cosine                distances of weights: l2, relative, cosine
  nnray analyze connectivity --sweep digits --where 'width == 16'    loss between networks, also with units permuted
  nnray analyze ntk --sweep digits -n 64                             alignment of neural tangent kernels
  nnray analyze stitch --sweep digits --layers '*.relu' --kinds affine,low-rank --rank 2,4,8   first layers of one,
                                                                     last ones of another
  nnray analyze frankenstein --space search_spaces/frankenstein.py   what Csiszárik et al. 2021 found by stitching
  nnray analyze extract --sweep digits --layers '*.relu' --dtype float16    layers on disk, for your own programs
  nnray analyze job.py --sweep digits                                       functions marked with @analysis.job

Results are Parquet tables under analysis/NAME in the store. The exit status is 0 if every network could be used, 1 if
some could not (errors.parquet tells why), 2 for a mistake in the input.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from nnray.cli.analyze_arguments import of_jobs
from nnray.cli.analyze_calls import Call, call_of, refuse_options_of_others
from nnray.cli.analyze_options import KINDS, add_arguments
from nnray.counting import counted
from nnray.errors import AnalysisError, did_you_mean
from nnray.store.files import path_of, shown

if TYPE_CHECKING:
    import pandas as pd

    import analysis
    from analysis.jobs.own import Job

__all__ = ["add_arguments", "run"]

PICTURED = KINDS[:-1]
_FIRST_ROWS = 10


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    import analysis
    from nnray.cli.main import EXIT_FAILED_TRIALS, EXIT_OK
    from nnray.trial.importing import make_importable

    own = arguments.what.endswith(".py")
    if arguments.what not in KINDS and not own:
        raise AnalysisError(
            f"{arguments.what!r} is no analysis and no Python file{did_you_mean(arguments.what, KINDS)}"
        )
    if own:
        _refuse_what_jobs_say(arguments)
    if arguments.what == "compare" and arguments.measure is None:
        from analysis.similarity import MEASURES

        raise AnalysisError(f"--measure: compare by which measure? {', '.join(MEASURES)}")
    if arguments.plot:
        _check_picture(arguments.plot, arguments.what)
    make_importable(Path.cwd())
    sweeps = arguments.sweep
    if arguments.space is not None:
        name, status = _train(arguments)
        if arguments.dry_run or status != EXIT_OK:
            return status
        sweeps = [name]
    networks = analysis.open(arguments.store, sweeps, epochs=_epochs(arguments.epochs))
    if arguments.where:
        networks = networks.where(arguments.where)
    console = Console(highlight=False)
    trials = networks.frame["trial"].nunique()
    headline = f"{arguments.what}: {counted(len(networks), 'networks')} of {counted(trials, 'trials')}"
    console.print(headline, markup=False, soft_wrap=True)
    actors = analysis.Actors(arguments.actors, arguments.gpu, arguments.address)
    if own:
        return _run_jobs(networks, arguments, actors, console)
    against = None if arguments.against is None else _against(arguments)
    call = call_of(arguments, against)
    if arguments.dry_run:
        _print_layers(networks, arguments.layers.split(","), console)
        if arguments.what == "stitch":
            _print_combinations(call, networks, console)
        return EXIT_OK
    result = call(networks, arguments.name, actors)
    if arguments.what == "extract":
        failed = _tell("extract", result.index, result.errors, console)
        console.print(f"arrays: {shown(result.folder)}", markup=False, soft_wrap=True)
    else:
        failed = _tell(arguments.what, result, result.errors, console)
    if arguments.what == "stitch" and result["error"].notna().all():  # of some it says that they do not go together
        raise AnalysisError(f"no combination could be made: {result['error'].iloc[0]}")
    if arguments.plot:
        result.save(arguments.plot)
        console.print(f"picture: {arguments.plot}", markup=False, soft_wrap=True)
    return EXIT_FAILED_TRIALS if failed else EXIT_OK


def _train(arguments: argparse.Namespace) -> tuple[str, int]:
    """Train what is missing of the sweep that ``--space`` names; return its name and how that ended."""
    from nnray.cli.main import main
    from nnray.space import load_sweep

    if arguments.sweep is not None:
        raise AnalysisError("networks are named by --sweep and by --space: one is enough")
    name = load_sweep(Path(arguments.space)).name
    options = {"--store": arguments.store, "--address": arguments.address}
    words = ["sweep", arguments.space, *(word for pair in options.items() if pair[1] is not None for word in pair)]
    return name, main([*words, "--dry-run"] if arguments.dry_run else words)


def _run_jobs(
    networks: analysis.Networks, arguments: argparse.Namespace, actors: analysis.Actors, console: Console
) -> int:
    """Run the jobs of a person's own file."""
    from analysis.jobs.own import load_jobs
    from nnray.cli.main import EXIT_FAILED_TRIALS, EXIT_OK

    jobs: list[Job] = load_jobs(arguments.what)
    further = of_jobs([job.function for job in jobs], arguments.set)
    failed = 0
    for job, own in zip(jobs, further, strict=True):
        if arguments.dry_run:
            console.print(f"job {job.name}", markup=False)
            if job.layers:
                _print_layers(networks, list(job.layers), console)
            continue
        name = f"{arguments.name}-{job.name}" if arguments.name and len(jobs) > 1 else arguments.name
        shown_to = {"data": job.data, "n": job.n, "seed": job.seed}
        frame = networks.map(job.function, job.layers, **shown_to, name=name, actors=actors, arguments=own)
        failed += _tell(job.name, frame, frame.errors, console)
    return EXIT_FAILED_TRIALS if failed else EXIT_OK


def _check_picture(path: str, what: str) -> None:
    """Refuse, before anything is computed, a picture that cannot be made."""
    from analysis.results import PICTURES, check_picture

    if what not in PICTURED:
        raise AnalysisError(f"--plot: {what} has no picture; {', '.join(PICTURED)} have")
    try:
        check_picture(path, PICTURES[:-1] if what == "frankenstein" else PICTURES)
    except AnalysisError as error:
        raise AnalysisError(f"--plot: {error}") from None


def _refuse_what_jobs_say(arguments: argparse.Namespace) -> None:
    refuse_options_of_others(arguments)
    built_in = {
        "--layers": arguments.layers != "*",
        "--data": arguments.data != "test",
        "-n": arguments.n is not None,
        "--seed": arguments.seed != 0,
    }
    for option, given in built_in.items():
        if given:
            raise AnalysisError(
                f"{option}: a job says itself what it is shown: @analysis.job(layers, data=, n=, seed=)"
            )


def _against(arguments: argparse.Namespace) -> analysis.Networks:
    import analysis

    return analysis.open(arguments.store, arguments.against.split(","), epochs=_epochs(arguments.epochs))


def _epochs(text: str) -> Any:
    if text in ("last", "best", "all"):
        return text
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise AnalysisError(f"--epochs: {text!r} is none of last, best, all or numbers such as 0,4,9") from None


def _print_layers(networks: analysis.Networks, layers: list[str], console: Console) -> None:
    """Show which layers the patterns name in one network of each class."""
    for model, group in networks.groupby("config/model.class_path"):
        try:
            chosen = ", ".join(group[0].load().prune(layers).outputs)
        except Exception as error:
            chosen = f"cannot be used: {error}"
        console.print(f"{model} ({counted(len(group), 'networks')}): {chosen}", markup=False, soft_wrap=True)


def _print_combinations(call: Call, networks: analysis.Networks, console: Console) -> None:
    """Tell how many networks are stitched, and by which layers."""
    from analysis.jobs.stitching import options_of, pairs_of

    own = {"against", "data", "n", "fit_data", "fit_n"}
    options = options_of(**{name: value for name, value in call.named.items() if name not in own})
    pairs = pairs_of(networks, call.named.get("against"))
    console.print(f"{len(pairs)} ordered pairs of networks; for each pair of layers:", markup=False)
    for form in options.forms():
        rank = "" if form.rank is None else f" of rank {form.rank}"
        console.print(f"  {form.kind}{rank}: {', '.join(form.stages)}", markup=False)


def _tell(what: str, frame: pd.DataFrame, errors: pd.DataFrame, console: Console) -> int:
    from nnray.cli.frames import print_table

    print_table(frame.head(_FIRST_ROWS))
    if len(frame) > _FIRST_ROWS:
        console.print(f"... and {len(frame) - _FIRST_ROWS} more rows", markup=False)
    for error in errors.head(5).to_dict("records"):
        place = "/".join(str(error[key]) for key in ("trial", "epoch", "layer") if error[key] is not None)
        console.print(f"failed: {place}: {error['error']}", markup=False, soft_wrap=True)
    if len(errors) > 5:
        console.print(f"... and {len(errors) - 5} more failed", markup=False)
    if "folder" in frame.attrs:
        console.print(f"{what}: {shown(path_of(frame.attrs['folder']))}/result.parquet", markup=False, soft_wrap=True)
    return len(errors)
