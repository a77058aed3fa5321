"""Show the layers of a model: as a table, or as a picture in a file.

MODEL is a class as in 'nnray train --model', and its arguments are options: --model.depth 56. The ending of the file
says what the picture is: .svg, .png or .pdf (these take the program 'dot' of Graphviz), .dot or .md (Mermaid).

  nnray graph ResNet --model.depth 56                         the table of layers
  nnray graph ResNet --model.depth 56 --out resnet56.svg      the picture; repeated blocks are drawn once
  nnray graph MLP --shape 1,28,28 --out mlp.md --table        both, for images of another shape
  nnray graph torchvision.models.SqueezeNet --shape 3,64,64   any module that can be traced
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnray.counting import counted
from nnray.errors import ConfigurationError, NnrayError
from nnray.trial.importing import make_importable

if TYPE_CHECKING:
    from nnray.graph import GraphModule

EXIT_OK = 0
_PREFIX = "--model."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that are not arguments of the model."""
    parser.usage = "nnray graph MODEL [--model.KEY VALUE ...] [--shape C,H,W] [--out FILE] [--no-fold] [--table]"
    parser.add_argument("model", metavar="MODEL", help="the model's class, for example ResNet or my_package.MyNet")
    parser.add_argument("--shape", metavar="C,H,W", help="the shape of one example (else what the model is made for)")
    parser.add_argument("--out", metavar="FILE", help="draw the graph into this file")
    parser.add_argument("--no-fold", dest="fold", action="store_false", help="draw repeated blocks each time")
    parser.add_argument("--table", action="store_true", help="print the table of layers, as is done without --out")
    parser.set_defaults(takes_keys=True)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from nnray.graph.drawing import Drawing

    make_importable(Path.cwd())
    shape = None if arguments.shape is None else _shape(arguments.shape)
    model = _model(arguments.model, _model_arguments(arguments.keys), shape)
    if arguments.table or arguments.out is None:
        _print_layers(model, shape)
    if arguments.out is not None:
        Drawing(model, shape, fold=arguments.fold).save(arguments.out)
        print(f"wrote {arguments.out}")
    return EXIT_OK


def _shape(text: str) -> tuple[int, ...]:
    sizes = text.replace("x", ",").split(",")
    if not all(size.strip().isdecimal() and int(size) > 0 for size in sizes):
        raise ConfigurationError(f"--shape: sizes such as 3,32,32 are expected, not {text!r}")
    return tuple(map(int, sizes))


def _model_arguments(words: Sequence[str]) -> dict[str, Any]:
    from nnray.trial.merging import parse_value

    given = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        key, equals, value = word.partition("=")
        if not key.startswith(_PREFIX) or key == _PREFIX:
            raise ConfigurationError(f"{word!r}: an argument of the model such as --model.width 32 is expected here")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise ConfigurationError(f"{key}: a value is missing")
            value = rest.pop(0)
        name = key.removeprefix(_PREFIX).removeprefix("init_args.")
        given[name] = parse_value(key, value)
    return given


def _model(path: str, given: dict[str, Any], shape: tuple[int, ...] | None) -> GraphModule:
    """Build the model; what it takes from the data otherwise, it takes from the shape, unless it is given."""
    from nnray.graph import GraphModule
    from nnray.trial.components import build, find_class, parameters_of, resolve_arguments

    cls = find_class("model", path)
    if shape is not None and len(shape) == 3:
        channels, height, width = shape
        linked = {"in_channels": channels, **({"image_size": height} if height == width else {})}
        given = {**{name: value for name, value in linked.items() if name in parameters_of(cls)}, **given}
    arguments = resolve_arguments("model.init_args", cls, given)
    model = _built(path, lambda: build(cls, arguments, {}))
    return model if isinstance(model, GraphModule) else GraphModule.trace(model)


def _built(path: str, make: Callable[[], Any]) -> Any:
    import torch

    try:
        with torch.device("meta"):  # without memory for the weights
            return make()
    except NnrayError:
        raise
    except Exception:  # a constructor that looks at values
        try:
            return make()
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise ConfigurationError(f"model: {path} cannot be built: {reason}") from error


def _print_layers(model: GraphModule, shape: tuple[int, ...] | None) -> None:
    from nnray.cli.frames import print_table
    from nnray.graph.drawing.labels import shape_label
    from nnray.graph.layer_table import layers

    table = layers(model, shape)  # not a method: a traced model may have a submodule of this name
    table["inputs"] = table["inputs"].map(", ".join)
    table["output_shape"] = table["output_shape"].map(shape_label)
    print_table(table)
    if table["multiply_adds"].isna().all():
        work = "--shape C,H,W tells shapes and multiply-adds"
    else:
        work = f"{table['multiply_adds'].sum():,} multiply-adds per example"
    print(f"{counted(len(table), 'layers')}, {table['parameters'].sum():,} parameters, {work}")
