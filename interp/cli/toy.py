"""`interp toy`: run a study of toy models, checked against theory and papers."""

from __future__ import annotations

import dataclasses
from argparse import ArgumentParser, Namespace
from types import ModuleType
from typing import TYPE_CHECKING, Any

from analyses import bydesign, superposition
from interp import settings
from interp.cli import console, options
from interp.cli.deliver import deliver, output_folder, save
from interp.errors import CheckFailedError, UsageError, nearest
from interp.files import writable_folder

if TYPE_CHECKING:
    from analyses.superposition.base import ToyStudy

HELP = "run studies of toy models (superposition, modular, pruned, sparse networks) and check every number"
EXAMPLE = "interp toy geometry --out out/toy"

ALL = "all"
PACKAGES = (superposition, bydesign)
"""Where studies are; no two have the same name."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the study, its size, and where the report goes."""
    names = ", ".join(_packages())
    parser.add_argument("study", metavar="STUDY", help=f"{names}; or {ALL}")
    text = "change one setting of the study, such as density=0.5,0.1 or steps=2000; may be given several times"
    parser.add_argument("--set", metavar="NAME=VALUE", action="append", default=[], help=text)
    parser.add_argument(
        "--full",
        action="store_true",
        help="use the size of the paper for the study dimensions (minutes); other studies have one size",
    )
    options.add_out(parser, "out/toy", "folder for result.json, arrays.safetensors and report.html")
    options.add_seed(parser)
    parser.add_argument(
        "--device", default="cpu", help='device: "cpu", or "cuda:0" for studies of superposition (default: cpu)'
    )


def run(args: Namespace) -> int:
    """Run the study, save it and write the report.

    The exit code is 4 if a number lies outside its band; the report is written all the same.
    """
    if args.study == ALL:
        return _run_all(args, tuple(_packages()))
    module = _study(args.study)
    config = _config(module, args)
    with output_folder(args.out) as folder:
        result = _run(module, config, args)
        deliver(result, folder, args)
    return _verdict([(args.study, result)])


def _run_all(args: Namespace, names: tuple[str, ...]) -> int:
    """Run every study into a folder of its own name, and write one index."""
    from interp import report

    if args.set:
        raise UsageError("--set changes the settings of one study: name that study instead of all")
    bydesign.require_cpu(args.device)
    results: list[tuple[str, ToyStudy]] = []
    with output_folder(args.out) as folder:
        for name in names:
            module = _study(name)
            result = _run(module, _config(module, args), args)
            save(result, writable_folder(folder / name), result=True)
            results.append((name, result))
            if not (args.json or args.quiet):
                console.write(f"{name}: {result.summary()}")
        index = report.write_index(folder)
    if args.json:
        console.write_json({"index": str(index), "studies": {name: result.to_dict() for name, result in results}})
    else:
        console.write(str(index))
    return _verdict(results)


def _packages() -> dict[str, ModuleType]:
    """Return the name of every study, and its package."""
    return {name: package for package in PACKAGES for name in package.STUDIES}


def _study(name: str) -> ModuleType:
    packages = _packages()
    if name not in packages:
        raise UsageError(f'There is no study "{name}"{nearest(name, packages)} (studies: {", ".join(packages)}).')
    return packages[name].study(name)


def _run(module: ModuleType, config: Any, args: Namespace) -> ToyStudy:
    with console.progress(quiet=args.quiet) as progress:
        return module.run(config, device=args.device, command=args.command, progress=progress)


def _verdict(results: list[tuple[str, ToyStudy]]) -> int:
    """Return 0, or 4 with the failures on stderr."""
    failed = [f"{name}: {result.failures()}" for name, result in results if not result.passed]
    for line in failed:
        console.write_error(f"outside its band: {line}")
    return CheckFailedError.exit_code if failed else 0


def _config(module: ModuleType, args: Namespace) -> Any:
    """Return the study's configuration with --full, --seed and every --set."""
    base = module.FULL if args.full and hasattr(module, "FULL") else module.Config()
    changes: dict[str, Any] = {"seed": args.seed}
    known = [field.name for field in dataclasses.fields(base) if field.name != "seed"]
    for setting in args.set:
        name, equals, text = setting.partition("=")
        if not equals or name not in known:
            hint = nearest(name, known)
            raise UsageError(f'--set "{setting}" names no setting of {args.study}{hint} (settings: {", ".join(known)})')
        changes[name] = settings.assigned(type(base), name, text, f"--set {name}")
    return dataclasses.replace(base, **changes)
