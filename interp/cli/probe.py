"""`interp probe`: probe a model for truth, with controls."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace

from interp.cli import console, options
from interp.cli.deliver import deliver, output_folder

HELP = "fit linear probes of true and false statements, with controls, baselines and intervals"
MOST_LAYERS = 10_000
EXAMPLE = "interp probe cities capitals --probe mass-mean --out out/probe"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of this command.

    The statements, the probe, where it reads, and where the report goes.
    """
    text = "a CSV or JSONL file with the columns statement and label, or the name of a generated set, such as capitals"
    parser.add_argument("data", metavar="DATA", nargs="+", help=text)
    text = "logistic, mass-mean, lda, ridge, ccs, crc, ttpd or saplma (default: logistic)"
    parser.add_argument("--probe", metavar="NAME", default="logistic", help=text)
    text = "position whose activations are read: last, -2, mean, entity or token:TEXT (default: last)"
    parser.add_argument("--position", metavar="RULE", default="last", help=text)
    text = "layers such as 10,12 or 8-20; embed is the embedding, which is layer -1 (default: all)"
    parser.add_argument("--layers", metavar="LIST", type=_layers, default=(), help=text)
    text = "column of the entities (or a regular expression over statements); all rows of an entity are in one split"
    parser.add_argument("--group", metavar="NAME", help=text)
    text = "skip selectivity, the null, baselines and erasure; the report says that they are missing"
    parser.add_argument("--no-controls", action="store_true", help=text)
    text = "also intervene: add the direction, and random ones, while the model answers (a minute or more)"
    parser.add_argument("--causal", action="store_true", help=text)
    text = "folder for result.json, arrays.safetensors, report.html and the probes"
    options.add_out(parser, "out/probe", text)
    options.add_seed(parser)
    options.add_model(parser)


def run(args: Namespace) -> int:
    """Probe, save and write the report."""
    from analyses import truth
    from analyses.truth.study import read_all

    with output_folder(args.out) as folder:
        config = truth.Config(
            data=tuple(args.data),
            probe=args.probe,
            position=args.position,
            layers=args.layers,
            group=args.group,
            controls=not args.no_controls,
            causal=args.causal,
        )
        sets = read_all(config, args.seed)  # before the model: mistakes show at once
        model = options.load_model(args)
        with console.progress(quiet=args.quiet) as progress:
            result = truth.run(
                model,
                config,
                data=sets,
                probes_to=folder / "probes",
                command=args.command,
                seed=args.seed,
                progress=progress,
            )
        deliver(result, folder, args)
    return 0


def _layers(text: str) -> tuple[int, ...]:
    """Return "all", or the layers of text such as 0,8-12; an argparse type."""
    if text == "all":
        return ()
    result: list[int] = []
    for part in text.split(","):
        if part in ("embed", "-1"):
            result.append(-1)
            continue
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not (last.isdecimal() and int(first) <= int(last))):
            raise ArgumentTypeError(f'"{text}" is not a list of layers: write 0,12 or 8-20 or embed,0-5 or all')
        if int(last or first) - int(first) >= MOST_LAYERS:
            raise ArgumentTypeError(f"{part} is more than {MOST_LAYERS} layers, and no model has that many")
        result += range(int(first), int(last or first) + 1)
    return tuple(dict.fromkeys(result))
