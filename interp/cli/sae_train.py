"""`interp sae train`: a sparse autoencoder from a TOML file, from flags, or from both."""

from __future__ import annotations

import contextlib
import shlex
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from interp.cli import console, options
from interp.cli.deliver import output_folder
from interp.cli.main import INTERRUPTED
from interp.cli.processes import run_in_group
from interp.cli.training_page import TrainingPage
from interp.errors import MissingInputError
from interp.progress import duration

HELP = "train a sparse autoencoder, or one for every layer, resumable, into folders that SAELens reads"
EXAMPLE = (
    "interp sae train --text python-docs --hook blocks.10.hook_resid_post --max-tokens 200000 --width 2304 --out runs/x"
    "\n  interp sae train --text python-docs --hooks 'blocks.*.mlp' --variant transcoder --out runs/transcoders"
)

SHORT = {
    "architecture": ("sae", "NAME", "standard, gated, topk, batchtopk, jumprelu or matryoshka"),
    "variant": ("sae", "NAME", "autoencoder, transcoder, crosscoder or crosslayer"),
    "width": ("sae", "N", "number of latents"),
    "k": ("sae", "N", "active latents per input"),
    "steps": ("sae", "N", "number of training steps (batches)"),
    "batch_size": ("sae", "N", "activations in a batch"),
    "lr": ("sae", "X", "peak learning rate"),
    "max_norm": ("sae", "X", "leave out activations whose norm is above this multiple of the median"),
    "seed": ("sae", "N", "seed of all random numbers"),
    "store": ("data", "DIR", "train on this store of activations (interp cache run)"),
    "column": ("data", "NAME", 'key or column of the text in .jsonl, .csv, .parquet and data sets (default: "text")'),
    "model": ("data", "NAME", "model that reads the text: a Hugging Face name, a local folder, or smollm2"),
    "target": ("data", "NAME", "hook of a transcoder's outputs"),
    "context": ("data", "N", "tokens in a context"),
    "max_tokens": ("data", "N", "read no more tokens than this"),
    "device": ("run", "NAME", 'device, such as "cpu" or "cuda:0"'),
    "wandb": ("run", "PROJECT", "also send metrics to Weights & Biases (needs its package)"),
}
"""Flags for --set TABLE.KEY=VALUE: table, name of the value in the help, help."""
LISTS = {
    "text": (
        "data",
        "TEXT",
        "text: a file (.txt, .jsonl, .csv, .parquet), a folder, python-docs, - or hf:NAME; may be given several times",
    ),
    "hook": ("data", "NAME", "hook that is read, such as blocks.10.hook_resid_post; several for a crosscoder"),
    "hooks": (
        "data",
        "PATTERN",
        "train a set: one for every matching hook, such as 'blocks.*.mlp'; may be given several times",
    ),
}


def add_arguments(parser: ArgumentParser) -> None:
    """Add the file, the values over it, and where the run goes."""
    from saes.runs.synonyms import SYNONYMS

    if isinstance(parser, options.Parser):
        own = {other: name.partition(".")[2] for other, name in SYNONYMS.items()}
        known = {name: f"--{name.replace('_', '-')}" for name in (*SHORT, *LISTS)}
        parser.synonyms = {f"--{other.replace('_', '-')}": known[name] for other, name in own.items() if name in known}
    text = "file with the tables [sae], [data] and [run]; flags override it (default with --resume: that of the run)"
    parser.add_argument("config", metavar="RUN.toml", nargs="?", help=text)
    text = "any key of the three tables, such as sae.dead_after=500 or data.stream=true; may be given several times"
    parser.add_argument("--set", metavar="TABLE.KEY=VALUE", action="append", default=[], dest="assigned", help=text)
    for name, (table, metavar, text) in SHORT.items():
        _add(parser, name, metavar, f"{text} ({table}.{name})")
    for name, (table, metavar, text) in LISTS.items():
        _add(parser, name, metavar, f"{text} ({table}.{name})", action="append")
    text = "also write curves for TensorBoard into --out (run.tensorboard; needs its package)"
    parser.add_argument("--tensorboard", action="store_true", help=text)
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint in --out")
    text = "print shapes, tokens, arithmetic, disk, memory and time, and write nothing"
    parser.add_argument("--dry-run", action="store_true", help=text)
    options.add_out(parser, "out/sae", "folder of the run, where the SAE is saved")


def _add(parser: ArgumentParser, name: str, metavar: str, text: str, action: str = "store") -> None:
    parser.add_argument(f"--{name.replace('_', '-')}", metavar=metavar, dest=name, action=action, help=text)


def run(args: Namespace) -> int:
    """Plan, or train and print how it went."""
    from saes.runs import plan

    settings = _settings(args)
    if args.dry_run:
        _write_plan(plan.plan(settings), settings, args)
        return 0
    if settings.data.hooks and not (args.resume or args.quiet or args.json):
        _write_plan(plan.plan(settings), settings, args)  # a set can take hours: print the plan before it begins
    return run_in_group(args, settings.run.device, lambda group: _train(settings, args, group))


def _settings(args: Namespace) -> Any:
    """Return the tables of the file with the flags over them.

    With --resume and no file, they are those of the run.
    """
    from saes.runs import settings as run_settings

    saved = Path(args.out) / run_settings.NAME
    file = args.config or (str(saved) if args.resume and saved.is_file() else None)
    tables = [run_settings.read(file)] if file else []
    pairs = [(f"--{name.replace('_', '-')}", f"{table}.{name}={value}") for name, table, value in _given(args)]
    pairs += [("--set", text) for text in args.assigned]
    for flag, text in pairs:
        table, key, value = run_settings.assignment(text, flag)
        tables.append({table: {key: value}})
    tables += [{table: {name: tuple(value)}} for name, (table, *_) in LISTS.items() if (value := getattr(args, name))]
    merged = run_settings.merged(tables)
    if args.resume and not file and not merged["data"]:
        raise MissingInputError(f"There is no run in {args.out} to continue: it has no {run_settings.NAME}.")
    return run_settings.complete(merged, file or "")


def _given(args: Namespace) -> Iterator[tuple[str, str, str]]:
    for name, (table, *_) in SHORT.items():
        if getattr(args, name) is not None:
            yield name, table, getattr(args, name)
    if args.tensorboard:
        yield "tensorboard", "run", "true"


def _train(settings: Any, args: Namespace, group: Any) -> int:
    from saes.runs import loop, start as begin, trackers

    place = loop.Place(Path(args.out), args.resume, group)
    with contextlib.ExitStack() as stack:
        if place.writes:
            stack.enter_context(output_folder(args.out))
        shown = stack.enter_context(console.progress(quiet=args.quiet))
        sent = stack.enter_context(trackers.opened(settings, Path(args.out))) if place.writes else None
        drawn = TrainingPage(Path(args.out), settings) if place.writes else None
        try:
            outcome = begin.start(
                settings, place, harvested=shown, progress=_metrics_callback(settings, shown, sent, drawn)
            )
        except KeyboardInterrupt as stopped:
            if drawn is not None:
                drawn.write()
                stack.close()
                how = f"interp sae train --resume --out {shlex.quote(args.out)}"
                console.write_error(f"{str(stopped) or 'interrupted'}; continue with: {how}")
            return INTERRUPTED
    if drawn is not None:
        if not outcome.already:
            drawn.write()
        _write(outcome, settings, args)
    return 0


def _metrics_callback(
    settings: Any, shown: console.Progress | None, sent: Any, drawn: TrainingPage | None
) -> Callable[[str, dict[str, float]], None]:
    """Return a callback for the metrics of a step.

    Progress, tracker, page of curves.
    """
    first: list[tuple[float, float]] = []
    total, done = settings.sae.steps, {}

    def report(hook: str, metrics: dict[str, float]) -> None:
        if sent is not None:
            sent({f"{hook}/{name}" if hook and name != "step" else name: value for name, value in metrics.items()})
        if drawn is not None:
            drawn.refresh()
        if shown is None:
            return
        now, step = time.perf_counter(), metrics["step"]
        done[hook] = step
        trained = sum(done.values())
        first[:] = first or [(now, trained)]
        rate = (trained - first[0][1]) / max(now - first[0][0], 1e-9)
        lines = f"{hook + ': ' if hook else ''}fvu {metrics['fvu']:.3f}, l0 {metrics['l0']:.1f}"
        if rate:
            lines += f", {rate * settings.sae.batch_size:,.0f} activations/s"
            lines += "" if hook else f", {duration((total - step) / rate)} left"
        shown(int(step), total, lines)

    return report


def _write(outcome: Any, settings: Any, args: Namespace) -> None:
    """Print what was trained."""
    rates = {hook: _rate(settings.sae, metrics) for hook, metrics in outcome.metrics.items()}
    if args.json:
        one = _body(outcome.trained, outcome.metrics[""], rates[""]) if "" in rates else None
        body = {"sae": args.out, "already_finished": outcome.already}
        many = (
            [_body(outcome.trained[hook], outcome.metrics[hook], rate) for hook, rate in rates.items()]
            if not one
            else []
        )
        console.write_json(body | (one or {"dictionaries": many}))
        return
    if not args.quiet:
        for line in _lines(outcome, settings.sae, rates):
            console.write(line)
    console.write(args.out)


def _rate(config: Any, metrics: dict[str, float]) -> float | None:
    """Return activations a second."""
    return config.batch_size * config.steps / metrics["seconds"] if metrics.get("seconds") else None


def _body(sae: Any, metrics: dict[str, float], rate: float | None) -> dict[str, Any]:
    """Return one dictionary, for programs."""
    body = {"reads": sae.reads, "writes": list(sae.writes), "architecture": sae.architecture, "variant": sae.variant}
    body |= {"d_in": sae.d_in, "d_out": sae.d_out, "width": sae.width}
    return {**body, "activations_per_second": rate, "metrics": metrics}


def _lines(outcome: Any, config: Any, rates: dict[str, float | None]) -> Iterator[str]:
    if outcome.already:
        yield f"this run is already finished ({config.steps:,} steps)"
    if "" not in rates:
        yield from _set_lines(outcome, config)
        return
    sae, metrics, rate = outcome.trained, outcome.metrics[""], rates[""]
    kind = sae.architecture if sae.variant == "autoencoder" else f"{sae.architecture} {sae.variant}"
    ends = f"{sae.d_in:,}" if sae.d_in == sae.d_out else f"{sae.d_in:,} to {sae.d_out:,}"
    yield f"{kind} of {ends} values and {sae.width:,} latents"
    if metrics:
        yield (
            f"last batch: fvu {metrics['fvu']:.4f} (fraction of variance unexplained), {metrics['l0']:.1f} latents "
            f"active per input, {metrics['dead']:,} of {sae.width:,} dead"
        )
    if rate:
        total = config.steps * config.batch_size
        yield f"trained on {total:,} activations in {duration(metrics['seconds'])}, {rate:,.0f} per second"


def _set_lines(outcome: Any, config: Any) -> Iterator[str]:
    """Return the lines of a set, then the last batch of every dictionary."""
    yield repr(outcome.trained)
    yield "last batch: fraction of variance unexplained, latents active per input, dead latents"
    for hook, metrics in outcome.metrics.items():
        if metrics:
            yield f"  {hook:28} fvu {metrics['fvu']:.4f}   l0 {metrics['l0']:6.1f}   dead {metrics['dead']:,}"
    seconds = sum(metrics.get("seconds", 0.0) for metrics in outcome.metrics.values())
    total = config.steps * config.batch_size
    yield f"each trained on {total:,} activations, all of them in {duration(seconds)}"


def _write_plan(plan: Any, settings: Any, args: Namespace) -> None:
    if args.json:
        console.write_json(plan.table())
        return
    for line in _plan_lines(plan, settings.sae):
        console.write(line)


def _plan_lines(plan: Any, config: Any) -> Iterator[str]:
    """Return what the run will take."""
    many = f"{plan.dictionaries:,} dictionaries of " if plan.dictionaries > 1 else ""
    shape = f"{plan.d_in:,} values to {plan.width:,} latents to {plan.d_out:,}"
    yield f"shapes  {many}{shape}: {plan.parameters:,} parameters"
    if plan.tokens:
        yield f"text    {plan.tokens:,} tokens, {plan.rows:,} activations"
    seen = f" ({plan.epochs:.2f} passes over {plan.rows:,})" if plan.rows else ""
    yield f"data    {plan.activations:,} activations: {config.steps:,} steps of {config.batch_size:,}{seen}"
    yield f"work    {plan.flops:.3g} FLOPs of training"
    stored = f"{plan.harvest_bytes / 1e9:.3f} GB of activations and " if plan.harvest_bytes else ""
    yield f"disk    {stored}up to {plan.run_bytes / 1e9:.3f} GB of checkpoints and weights"
    yield f"memory  about {plan.memory_bytes / 1e9:.2f} GB at its peak, without the libraries"
    harvest = f"{duration(plan.harvest_seconds)} of harvest, " if plan.harvest_seconds else ""
    training = f"{duration(plan.train_seconds)} of training, from a few real steps on random data"
    yield f"time    about {harvest}{training}"
