"""`interp cache run`, `info` and `verify`, in this process, over a small model."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from interp.cli.main import main
from tests import models

HOOK = "blocks.1.hook_resid_post"
RUN = ("--hook", HOOK, "--context", "6", "--batch", "2")


@pytest.fixture
def run(capsys, monkeypatch):
    loaded = models.load("llama", text=True)
    monkeypatch.setattr("interp.model.load", lambda name, *, dtype, device: loaded)

    def ended(*words):
        capsys.readouterr()
        code = main(["cache", *map(str, words)])
        output = capsys.readouterr()
        return code, output.out, output.err

    return ended


@pytest.fixture
def text(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("the tower is in Paris a b the tower is in London a b")
    return file


def test_run_info_verify_and_resume(run, text, tmp_path):
    out = tmp_path / "acts"
    code, output, error = run("run", text, *RUN, "--out", out, "--json")
    assert (code, error) == (0, "")
    output = json.loads(output)
    assert (output["tokens"], output["rows"], output["complete"], output["exclude"]) == (
        12,
        10,
        True,
        ["first", "padding"],
    )
    code, shown, _ = run("info", out, "--json")
    assert json.loads(shown) == output
    code, shown, _ = run("info", out)
    assert "left out: position 0 of every context and padding" in shown and "1 of 1 shards" in shown
    assert run("verify", out)[:2] == (0, "1 shards, 0.000 GB: all checksums match\n")
    assert run("run", text, *RUN, "--out", out)[0] == 2
    assert run("run", text, *RUN, "--out", out, "--resume", "--quiet") == (0, f"{out}\n", "")


def test_verify_ends_with_4_and_one_sentence(run, text, tmp_path):
    out = tmp_path / "acts"
    run("run", text, *RUN, "--out", out)
    shard = out / "shard-00000.safetensors"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    code, output, error = run("verify", out)
    assert (code, output) == (4, "") and error.startswith("error: 1 of 1 shards") and error.count("\n") == 1
    (out / "manifest.json").unlink()
    assert run("verify", out)[0] == run("info", out)[0] == 3


def test_a_dry_run_writes_nothing(run, text, tmp_path):
    out = tmp_path / "acts"
    code, output, _ = run("run", text, *RUN, "--out", out, "--dry-run")
    assert code == 0 and not out.exists()
    for part in ("12 tokens in 2 contexts, 10 rows", "disk ", "1 shards", "memory ", "time ", "FLOPs"):
        assert part in output
    output = json.loads(run("run", text, *RUN, "--dry-run", "--json")[1])
    assert output["flops"] > 0 and output["disk_bytes"] == 10 * 24 * 4 + 2 * 7 * 4


def test_position_0_and_padding_are_stored_on_request(run, text, tmp_path):
    out = tmp_path / "acts"
    words = ("run", text, *RUN[:2], "--context", "20", "--no-pack", "--keep", "first", "--keep", "padding", "--json")
    output = json.loads(run(*words, "--out", out)[1])
    assert (output["rows"], output["packed"], output["exclude"]) == (20, False, [])


@pytest.mark.parametrize(("words", "code", "message"), [
    (["no.txt", *RUN], 3, 'no file or folder "no.txt"'),
    (["{text}", "--hook", "blocks.1.hook_rsid_post"], 2, "blocks.1.hook_resid_post"),
    (["{text}", "tokens.npy", *RUN], 2, "cannot be combined in one store"),
    (["{text}", *RUN, "--max-gigabytes", "0"], 2, '"0" is not a number above zero'),
    (["{text}", "--hook", HOOK, "--context", "30"], 2, "fewer than 30 tokens"),
    (["{text}", *RUN, "--bos", "yes"], 0, ""),
], ids=["no text", "no hook", "both", "size", "short", "fine"])  # fmt: skip
def test_each_mistake_is_one_sentence_and_leaves_nothing(words, code, message, run, text, tmp_path):
    out = tmp_path / "acts"
    ended, _, error = run("run", *(str(text) if word == "{text}" else word for word in words), "--out", out)
    assert (ended, out.exists()) == (code, code == 0)
    assert message in error and error.count("\n") == bool(code)


def test_info_loads_no_torch(run, text, tmp_path):
    run("run", text, *RUN, "--out", tmp_path / "acts")
    code = "import sys; from interp.cli.main import main; main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    command = [sys.executable, "-c", code, "cache", "info", str(tmp_path / "acts")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "") and HOOK in ended.stdout
