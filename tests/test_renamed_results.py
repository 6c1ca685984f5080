"""Results saved by earlier versions load: names of modules, classes and fields that have changed since."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from interp import results
from interp.results import ARRAYS_NAME, JSON_NAME, Result


@dataclass(frozen=True, eq=False)
class Container(Result):
    """Result with one field for any value."""

    value: Any


def _resealed(folder: Path, change) -> str:
    """Alter the readable copy, with a checksum that fits, and return its text."""
    document = json.loads((folder / JSON_NAME).read_text())
    document.pop("checksum")
    change(document)
    text = json.dumps({"checksum": results._checksum(document), **document})
    (folder / JSON_NAME).write_text(text)
    return text


SAVED_BEFORE_THE_RENAMING = """{
 "checksum": "20b0ce6aa71cf37f64ed9643d756816019539935da5f511c9666b8d749e5f275",
 "format": 1,
 "arrays": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
 "result": {
  "$type": "probes.erasure:ErasureReport",
  "methods": [
   {
    "$type": "probes.erasure:Erased",
    "method": "none",
    "linear_train": 1.0,
    "linear_test": 0.75,
    "linear_inside": null,
    "nonlinear_test": 0.5,
    "change_train": 0.0,
    "change_test": 0.0
   }
  ],
  "n_train": 8,
  "n_test": 4,
  "chance": 0.5
 }
}"""


def test_a_result_saved_under_an_earlier_name_of_its_module_loads(tmp_path):
    (tmp_path / JSON_NAME).write_text(SAVED_BEFORE_THE_RENAMING)
    save_file({}, tmp_path / ARRAYS_NAME, metadata={"interp.result": SAVED_BEFORE_THE_RENAMING})
    report = results.load(tmp_path)
    assert (type(report).__module__, type(report).__name__) == ("probes.erasure_report", "ErasureReport")
    assert report.methods[0].linear_test == 0.75
    report.save(tmp_path / "new")
    assert results.load(tmp_path / "new") == report


@pytest.mark.parametrize("name", results.RENAMED)
def test_every_earlier_name_leads_to_a_class_of_today(name):
    kind = results._class(name, Path(JSON_NAME))
    assert results._name_of(kind) == results.RENAMED[name] not in results.RENAMED


def test_a_result_saved_with_an_earlier_name_of_a_field_loads(tmp_path):
    from interp.attribution.results import Verification

    array = np.array([0.5, -1.0])
    today = Verification("logit", "logits", ("a <- b", "b"), array, array, -array, "zero", -1.0, 0.9)
    today.save(tmp_path)
    arrays = load_file(tmp_path / ARRAYS_NAME)
    text = _resealed(tmp_path, lambda d: d["result"].update(values=d["result"].pop("array")))
    save_file(arrays, tmp_path / ARRAYS_NAME, metadata={"interp.result": text})
    assert '"values": {' in (tmp_path / JSON_NAME).read_text()
    assert results.load(tmp_path) == today
    assert today.values.tolist() == [0.5, -1.0]


def test_a_result_inside_another_loads_with_earlier_names_of_its_fields(tmp_path):
    from saes.evaluation.scores import Score

    today = Container((Score("l0", "sparsity", 3.5, unit="latents", evaluated_on="64 rows"),))
    today.save(tmp_path)

    def rename(document: dict[str, Any]) -> None:
        (score,) = document["result"]["value"]
        score["judged_on"] = score.pop("evaluated_on")

    text = _resealed(tmp_path, rename)
    save_file({}, tmp_path / ARRAYS_NAME, metadata={"interp.result": text})
    loaded = results.load(tmp_path)
    assert loaded == today and isinstance(loaded, Container)
    assert loaded.value[0].evaluated_on == "64 rows"


@pytest.mark.parametrize("name", results.RENAMED_FIELDS)
def test_every_earlier_field_leads_to_a_field_of_today(name):
    known = {field.name for field in fields(results._class(name, Path(JSON_NAME)))}
    assert set(results.RENAMED_FIELDS[name].values()) <= known - results.RENAMED_FIELDS[name].keys()
