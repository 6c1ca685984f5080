"""`interp sae push`: the card is written, and nothing is sent unless that is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch

from saes import build
from tests.cli.conftest import Run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    W_dec = torch.nn.functional.normalize(torch.randn(8, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    tensors = {"W_enc": W_dec.T.clone(), "W_dec": W_dec, "b_enc": torch.zeros(8), "b_dec": torch.zeros(4)}
    return build("topk", "autoencoder", tensors, {"k": 2}, {"hook_name": "blocks.1.hook_resid_post"}).save(
        tmp_path / "x"
    )


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    calls: list[Any] = []

    class Api:
        def create_repo(self, repo: str, **options: Any) -> None:
            calls.append((repo, options["private"]))

        def upload_folder(self, **options: Any) -> None:
            calls.append(sorted(options["allow_patterns"]))

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    return calls


def test_without_upload_the_card_is_written_and_nothing_is_sent(run: Run, folder: Path, sent: list[Any]) -> None:
    ended = run("sae", "push", str(folder), "--repo", "me/x", "--json")
    assert ended.code == 0 and not sent
    output = ended.json
    assert output["uploaded"] is False and "README.md" in output["files"]
    assert "blocks.1.hook_resid_post" in (folder / "README.md").read_text()


def test_with_upload_card_and_weights_are_sent(run: Run, folder: Path, sent: list[Any]) -> None:
    ended = run("sae", "push", str(folder), "--repo", "me/x", "--upload", "--public")
    assert ended.code == 0 and "https://huggingface.co/me/x" in ended.out
    assert sent[0] == ("me/x", False) and {"README.md", "cfg.json", "sae_weights.safetensors"} <= set(sent[1])


def test_what_cannot_be_pushed_is_one_sentence(run: Run, folder: Path, tmp_path: Path, sent: list[Any]) -> None:
    for words, code in ((["--repo", "no-owner"], 2), (["--evaluation", str(tmp_path)], 3)):
        ended = run("sae", "push", str(folder), "--repo", "me/x", *words, "--upload")
        assert ended.code == code and ended.err.startswith("error: ") and ended.err.count("\n") == 1
    assert not sent
