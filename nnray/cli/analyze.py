"""Study the layers of a sweep's networks; what is computed already is not computed again.

  nnray analyze cka --sweep digits --layers 'block*' --plot cka.pdf         every layer against every other
  nnray analyze compare --sweep digits --measure svcca --option variance=0.9 --same layer   pairs by any measure
  nnray analyze figures --sweep digits --which participation_ratio,two_nn   figures of every layer
  nnray analyze probe --sweep digits --epochs all                           what a linear probe reads, by epoch
  nnray analyze weights --sweep digits --which cosine                distances of weights: l2, relative, cosine
  nnray analyze connectivity --sweep digits --where 'width == 16'    loss between networks, also with units permuted
  nnray analyze ntk --sweep digits -n 64                             alignment of neural tangent kernels
  nnray analyze stitch --sweep digits --layers '*.relu' --kinds affine,low-rank   first layers of one, last of another
  nnray analyze extract --sweep digits --layers '*.relu' --dtype float16    layers on disk, for your own programs
  nnray analyze job.py --sweep digits                                       functions marked with @analysis.job

Results are Parquet tables under analysis/NAME in the store. The exit status is 0 if every network could be used, 1 if
some could not (errors.parquet tells why), 2 for a mistake in the input.
"""

from __future__ import annotations

import argparse
import ast
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from nnray.cli.store_option import add_store_option
from nnray.errors import AnalysisError, did_you_mean
from nnray.store.files import path_of, shown

if TYPE_CHECKING:
    import pandas as pd

    import analysis

KINDS = ("cka", "compare", "figures", "probe", "weights", "connectivity", "ntk", "stitch", "extract")
PICTURED, PICTURES = KINDS[:-2], (".pdf", ".svg", ".png", ".html")
_FIRST_ROWS = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("what", metavar="WHAT", help=f"{', '.join(KINDS)}, or a Python file with jobs")
    parser.add_argument("--sweep", metavar="NAME", action="append", help="a sweep, or a trial's signature (repeatable)")
    parser.add_argument("--where", metavar="CONDITION", help="only the networks for which this holds (pandas query)")
    parser.add_argument("--epochs", metavar="E", default="last", help="last, best, all, or numbers: 0,4,9 (last)")
    parser.add_argument("--layers", metavar="A,B,...", default="*", help="names or globs of layers (default: all)")
    parser.add_argument("--data", choices=("train", "val", "test"), default="test", help="the images (default: test)")
    parser.add_argument("-n", metavar="N", type=int, help="how many images (default: all)")
    parser.add_argument("--seed", metavar="S", type=int, default=0, help="of the choice and order of images (0)")
    parser.add_argument(
        "--name",
        metavar="NAME",
        help="the folder under analysis/ (default: after what is computed; several jobs of a file: NAME-JOB)",
    )
    parser.add_argument("--actors", metavar="N", type=int, default=0, help="Ray actors; 0 for this process (default)")
    parser.add_argument("--gpu", metavar="SHARE", type=float, default=0.0, help="share of a GPU that an actor holds")
    parser.add_argument("--address", help="the Ray cluster to join (else $RAY_ADDRESS, else Ray is started here)")
    parser.add_argument("--batch-size", metavar="B", type=int, default=128, help="cka: images in a minibatch (128)")
    parser.add_argument("--kernel", choices=("linear", "rbf"), default="linear", help="cka: the kernel (linear)")
    parser.add_argument("--biased", action="store_true", help="cka: the biased estimate of HSIC")
    parser.add_argument("--measure", metavar="NAME", help="compare: svcca, procrustes, rsa, ... (required)")
    parser.add_argument(
        "--option", metavar="NAME=VALUE", action="append", default=[], help="compare: of the measure (repeatable)"
    )
    parser.add_argument("--same", metavar="A,B", help="pairs of the same layer, trial or epoch alone")
    parser.add_argument("--against", metavar="TRIAL,...", help="these networks with all, not all with all")
    parser.add_argument("--interval", choices=("bootstrap", "split-half"), help="compare, figures, probe: low and high")
    parser.add_argument("--resamples", metavar="N", type=int, default=200, help="of intervals (200)")
    parser.add_argument("--which", metavar="A,B,...", help="figures: their names; weights: l2, relative or cosine")
    parser.add_argument("--kinds", metavar="A,B,...", help="stitch: affine, orthogonal, low-rank, sparse (affine)")
    parser.add_argument(
        "--stages", metavar="A,B,...", help="stitch: identity, random, least-squares, trained (last three)"
    )
    parser.add_argument("--reduce", choices=("mean", "max", "flatten"), help="extract: over places")
    parser.add_argument("--dtype", default="float32", help="extract: of what is kept (float32)")
    parser.add_argument("--plot", metavar="FILE", help="a picture of the result: .pdf, .svg, .png, .html")
    parser.add_argument("--dry-run", action="store_true", help="print which networks and layers, and do nothing")
    add_store_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    import analysis
    from nnray.cli.main import EXIT_FAILED_TRIALS, EXIT_OK
    from nnray.trial.importing import make_importable

    if arguments.what not in KINDS and not arguments.what.endswith(".py"):
        raise AnalysisError(
            f"{arguments.what!r} is no analysis and no Python file{did_you_mean(arguments.what, KINDS)}"
        )
    if arguments.what.endswith(".py"):
        _refuse_what_jobs_say(arguments)
    if arguments.what == "compare" and arguments.measure is None:
        from analysis.similarity import MEASURES

        raise AnalysisError(f"--measure: compare by which measure? {', '.join(MEASURES)}")
    if arguments.plot:
        _check_picture(Path(arguments.plot), arguments.what)
    make_importable(Path.cwd())
    networks = analysis.open(arguments.store, arguments.sweep, epochs=_epochs(arguments.epochs))
    if arguments.where:
        networks = networks.where(arguments.where)
    console = Console(highlight=False)
    trials = networks.frame["trial"].nunique()
    console.print(f"{arguments.what}: {len(networks)} networks of {trials} trials", markup=False, soft_wrap=True)
    if arguments.dry_run:
        _print_layers(networks, arguments.layers.split(","), console)
        return EXIT_OK
    actors = analysis.Actors(arguments.actors, arguments.gpu, arguments.address)
    failed = 0
    if arguments.what.endswith(".py"):
        from analysis.jobs.own import load_jobs

        jobs = load_jobs(arguments.what)
        for job in jobs:
            name = f"{arguments.name}-{job.name}" if arguments.name and len(jobs) > 1 else arguments.name
            frame = networks.map(
                job.function, job.layers, data=job.data, n=job.n, seed=job.seed, name=name, actors=actors
            )
            failed += _tell(job.name, frame, frame.attrs["errors"], console)
        return EXIT_FAILED_TRIALS if failed else EXIT_OK
    if arguments.what == "stitch":
        frame = _stitched(networks, arguments, actors)
        return EXIT_FAILED_TRIALS if _tell("stitch", frame, frame.attrs["errors"], console) else EXIT_OK
    result = _built_in(networks, arguments, actors)
    if arguments.what == "extract":
        failed = _tell("extract", result.index, result.errors.to_dict("records"), console)
        console.print(f"arrays: {shown(result.folder)}", markup=False, soft_wrap=True)
    else:
        failed = _tell(arguments.what, result, result.errors.to_dict("records"), console)
        if arguments.plot:
            result.save(arguments.plot)
            console.print(f"picture: {arguments.plot}", markup=False, soft_wrap=True)
    return EXIT_FAILED_TRIALS if failed else EXIT_OK


def _check_picture(path: Path, what: str) -> None:
    """Refuse, before anything is computed, a picture that cannot be made."""
    if what not in PICTURED:
        raise AnalysisError(f"--plot: {what} has no picture; {', '.join(PICTURED)} have")
    if path.suffix not in PICTURES:
        raise AnalysisError(f"--plot: {path.name}: a picture ends in {', '.join(PICTURES)}")
    if not path.parent.is_dir():
        raise AnalysisError(f"--plot: there is no folder {path.parent}")


def _refuse_what_jobs_say(arguments: argparse.Namespace) -> None:
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


def _stitched(networks: analysis.Networks, arguments: argparse.Namespace, actors: analysis.Actors) -> pd.DataFrame:
    choices = {"kinds": arguments.kinds, "stages": arguments.stages}
    return networks.stitching(
        arguments.layers.split(","),
        **{option: text.split(",") for option, text in choices.items() if text},
        data=arguments.data,
        n=arguments.n,
        seed=arguments.seed,
        name=arguments.name,
        actors=actors,
    )


def _built_in(networks: analysis.Networks, arguments: argparse.Namespace, actors: analysis.Actors) -> Any:
    layers = arguments.layers.split(",")
    shown: dict[str, Any] = {
        "data": arguments.data,
        "n": arguments.n,
        "seed": arguments.seed,
        "name": arguments.name,
        "actors": actors,
    }
    if arguments.what == "cka":
        return networks.cka(
            layers, batch_size=arguments.batch_size, kernel=arguments.kernel, unbiased=not arguments.biased, **shown
        )
    pairs: dict[str, Any] = {"same": arguments.same.split(",") if arguments.same else ()}
    if arguments.against is not None:
        pairs["against"] = _against(arguments)
    if arguments.what == "weights":
        return networks.weight_distances(arguments.which or "l2", name=arguments.name, actors=actors, **pairs)
    if arguments.what == "connectivity":
        return networks.connectivity(**pairs, **shown)
    if arguments.what == "ntk":
        return networks.ntk_alignment(**pairs, **{**shown, "n": arguments.n or 64})
    if arguments.what == "compare":
        return networks.compare(
            arguments.measure,
            layers,
            **pairs,
            interval=arguments.interval,
            resamples=arguments.resamples,
            **_options(arguments.option),
            **shown,
        )
    if arguments.what == "extract":
        return networks.extract(layers, reduce=arguments.reduce, dtype=arguments.dtype, **shown)
    which = "probe" if arguments.what == "probe" else arguments.which
    chosen = {"which": which.split(",")} if which else {}
    return networks.figures(layers, **chosen, interval=arguments.interval, resamples=arguments.resamples, **shown)


def _against(arguments: argparse.Namespace) -> analysis.Networks:
    import analysis

    return analysis.open(arguments.store, arguments.against.split(","), epochs=_epochs(arguments.epochs))


def _options(words: list[str]) -> dict[str, Any]:
    """Return options of a measure: numbers where they are numbers."""
    options = {}
    for word in words:
        name, sign, text = word.partition("=")
        if not sign:
            raise AnalysisError(f"--option: {word!r} is no NAME=VALUE")
        try:
            options[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            options[name] = text
    return options


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
        console.print(f"{model} ({len(group)} networks): {chosen}", markup=False, soft_wrap=True)


def _tell(what: str, frame: pd.DataFrame, errors: list[dict[str, Any]], console: Console) -> int:
    from nnray.cli.frames import print_table

    print_table(frame.head(_FIRST_ROWS))
    if len(frame) > _FIRST_ROWS:
        console.print(f"... and {len(frame) - _FIRST_ROWS} more rows", markup=False)
    for error in errors[:5]:
        place = "/".join(str(error[key]) for key in ("trial", "epoch", "layer") if error[key] is not None)
        console.print(f"failed: {place}: {error['error']}", markup=False, soft_wrap=True)
    if len(errors) > 5:
        console.print(f"... and {len(errors) - 5} more failed", markup=False)
    if "folder" in frame.attrs:
        console.print(f"{what}: {shown(path_of(frame.attrs['folder']))}/result.parquet", markup=False, soft_wrap=True)
    return len(errors)
