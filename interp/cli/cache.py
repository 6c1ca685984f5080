"""`interp cache run`: activations of chosen hooks over text, written to disk."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from interp.cli import console, options
from interp.cli.deliver import output_folder
from interp.cli.processes import is_first, run_in_group
from interp.errors import UsageError
from interp.progress import duration

HELP = "harvest activations over text into a store on disk, resumable"
EXAMPLE = "interp cache run corpus/ --hook blocks.10.hook_resid_post --max-tokens 1000000 --out out/acts"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the text, the hooks, the sizes, and where the store goes."""
    text = (
        "text, .jsonl, .csv or .parquet files, folders, - or hf:NAME[:SPLIT[:CONFIG]]; or .npy / .safetensors token ids"
    )
    parser.add_argument("text", metavar="TEXT", nargs="+", help=text)
    options.add_column(parser)
    text = "hook to store, such as blocks.10.hook_resid_post; may be given several times"
    parser.add_argument("--hook", metavar="NAME", action="append", required=True, help=text)
    text = "tokens in a context (default: 128)"
    parser.add_argument("--context", type=options.positive, default=128, metavar="N", help=text)
    text = "contexts in a forward pass (default: 16)"
    parser.add_argument("--batch-size", "--batch", type=options.positive, default=16, metavar="N", help=text)
    text = "number format on disk (default: float32)"
    parser.add_argument("--store-dtype", choices=("float32", "bfloat16", "float16"), default="float32", help=text)
    text = "also store position 0 of each context, whose norm is very large, or padding (default: neither)"
    parser.add_argument("--keep", choices=("first", "padding"), action="append", default=[], help=text)
    text = "one document in each context, padded, instead of joined documents cut into full contexts"
    parser.add_argument("--no-pack", action="store_true", help=text)
    text = "whether every context begins with BOS; habit: as the tokenizer does by default (default: habit)"
    parser.add_argument("--bos", choices=("habit", "yes", "no"), default="habit", help=text)
    parser.add_argument("--max-tokens", type=options.positive, metavar="N", help="read no more tokens than this")
    text = "refuse a store larger than this (default: 20)"
    parser.add_argument("--max-gigabytes", type=_size, default=20.0, metavar="N", help=text)
    parser.add_argument("--resume", action="store_true", help="continue an unfinished harvest in --out")
    text = "print the tokens, disk, memory, arithmetic and time that are needed, and write nothing"
    parser.add_argument("--dry-run", action="store_true", help=text)
    options.add_out(parser, "out/cache", "folder for shard-*.safetensors and manifest.json")
    options.add_model(parser)


def run(args: Namespace) -> int:
    """Harvest and print where the store is, or only plan."""
    from interp import cache

    config = cache.Config(
        hooks=tuple(args.hook),
        context=args.context,
        batch_size=args.batch_size,
        dtype=args.store_dtype,
        exclude=tuple(name for name in cache.EXCLUDED if name not in args.keep),
        pack=not args.no_pack,
        prepend_bos={"habit": None, "yes": True, "no": False}[args.bos],
        max_tokens=args.max_tokens,
        max_gigabytes=args.max_gigabytes,
    )
    source = _source(args, cache)
    if args.dry_run:
        model = options.load_model(args)
        _write_plan(cache.plan(model, source, config), model, args)
        return 0
    return run_in_group(args, args.device, lambda group: _harvest(config, source, args, group))


def _harvest(config: Any, source: Any, args: Namespace, group: Any) -> int:
    """Harvest in this process, or in a group of processes into one store."""
    from interp import cache

    if group is not None and "-" in args.text:
        raise UsageError("Several processes cannot read the same standard input: write the text to a file.")
    if group is not None:
        args.device = str(group.device)
    with output_folder(args.out) if is_first(group) else nullcontext(Path(args.out)) as folder:
        model = options.load_model(args)
        with console.progress(quiet=args.quiet) as progress:
            store = cache.harvest(model, source, config, folder, resume=args.resume, progress=progress, group=group)
        if is_first(group):
            write_store(store.manifest, folder, args)
    return 0


def write_store(manifest: Any, folder: Any, args: Namespace) -> None:
    """Print what a store holds."""
    if args.json:
        console.write_json({"store": str(folder), **summary(manifest)})
        return
    if not args.quiet:
        for line in lines(manifest):
            console.write(line)
    console.write(str(folder))


def summary(manifest: Any) -> dict[str, Any]:
    """Return what a program reads of a store.

    That is everything but the mean vectors and the list of shards.
    """
    return {
        "complete": manifest.complete,
        **{key: list(value) if isinstance(value, tuple) else value for key, value in manifest.settings().items()},
        "hooks": {hook.name: _hook(manifest, hook) for hook in manifest.hooks},
        "shards": len(manifest.shards),
        "bytes": sum(shard.bytes for shard in manifest.shards),
        "versions": manifest.versions,
    }


def lines(manifest: Any) -> list[str]:
    """Return what a person reads of a store."""
    model, done = (
        manifest.model,
        "" if manifest.complete else ", NOT COMPLETE: finish it with interp cache run --resume",
    )
    size = sum(shard.bytes for shard in manifest.shards) / 1e9
    begin = {True: "begins with BOS", False: "begins without BOS", None: "begins as in the given tokens"}
    left_out = {"first": "position 0 of every context", "padding": "padding"}
    excluded = " and ".join(left_out[name] for name in manifest.exclude) or "nothing"
    lines = [
        f"model      {model['model']}, computed in {model['dtype']}, weights {model['weights_sha256'][:12]}",
        f"text       {manifest.tokens:,} tokens in {manifest.contexts:,} contexts of "
        f"{'' if manifest.packed else 'up to '}{manifest.context}; each {begin[manifest.prepend_bos]}",
        f"stored     {manifest.rows:,} rows per hook, {manifest.dtype}; left out: {excluded}",
        f"on disk    {len(manifest.shards)} of {manifest.n_shard} shards, {size:.3f} GB{done}",
    ]
    for hook in manifest.hooks:
        result = _hook(manifest, hook)
        norm = f", mean norm {result['mean_norm']:.4g}, scale {result['scale']:.4g}" if "mean_norm" in result else ""
        lines.append(f"hook       {hook.name} {list(hook.shape)}{norm}")
    return lines


def _hook(manifest: Any, hook: Any) -> dict[str, Any]:
    statistics = manifest.statistics.get(hook.name)
    known = {} if statistics is None else {
        "mean_norm": statistics.norm, "scale": statistics.scale, "variance": statistics.variance
    }  # fmt: skip
    return {"shape": list(hook.shape), **known}


def _source(args: Namespace, cache: Any) -> Any:
    from interp.cache import text

    kinds = {text.is_token_file(source) for source in args.text}
    if kinds == {True, False}:
        raise UsageError("text and files of token ids cannot be combined in one store: give one or the other")
    return (
        cache.token_rows(*args.text, context=args.context)
        if True in kinds
        else cache.documents(*args.text, column=args.column)
    )


def _write_plan(plan: Any, model: Any, args: Namespace) -> None:
    from interp.cache.plan import seconds

    table = {**plan.table(), "seconds": seconds(model, plan)}
    if args.json:
        console.write_json(table)
        return
    console.write(f"{table['tokens']:,} tokens in {table['contexts']:,} contexts, {table['rows']:,} rows per hook")
    console.write(f"disk    {table['disk_bytes'] / 1e9:.3f} GB in {table['shards']} shards")
    console.write(f"memory  about {table['memory_bytes'] / 1e9:.2f} GB at its peak, without the libraries")
    rate = table["flops"] / table["seconds"] / 1e9
    console.write(f"time    about {duration(table['seconds'])}: {table['flops']:.3g} FLOPs at {rate:,.0f} GFLOP/s")


def _size(text: str) -> float:
    """Return a number above zero; an argparse type."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ArgumentTypeError(f'"{text}" is not a number above zero')
    return value
