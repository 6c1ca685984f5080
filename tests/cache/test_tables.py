"""Text in columns reads the same from every kind of file, and what is not there is named."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest

from interp import cache
from interp.errors import DamagedFileError, MissingInputError

TEXTS = ["first, with a comma", 'a "quoted"\nsecond', "", "third é"]
KINDS = ("jsonl", "csv", "parquet", "saved", "splits")


def write(kind: str, folder: Path) -> Path:
    table = datasets.Dataset.from_dict({"id": range(len(TEXTS)), "body": TEXTS})
    path = folder / f"rows.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in table), encoding="utf-8")
    elif kind == "csv":
        table.to_csv(path, index=False)
    elif kind == "parquet":
        table.to_parquet(path)
    elif kind == "saved":
        table.save_to_disk(path)
    else:
        datasets.DatasetDict({"train": table, "test": table.select([0])}).save_to_disk(path)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_texts_come_from_every_kind(kind: str, tmp_path: Path) -> None:
    path = write(kind, tmp_path)
    assert list(cache.documents(path, column="body")) == [text for text in TEXTS if text]
    with pytest.raises(
        (MissingInputError, DamagedFileError), match=r"\(it has: id, body\): name the text with column="
    ):
        list(cache.documents(path))


def test_a_split_is_read_by_its_folder_and_a_set_without_train_names_them(tmp_path: Path) -> None:
    path = write("splits", tmp_path)
    assert list(cache.documents(path / "test", column="body")) == TEXTS[:1]
    datasets.DatasetDict({"test": datasets.Dataset.from_dict({"body": TEXTS})}).save_to_disk(tmp_path / "other")
    with pytest.raises(MissingInputError, match=r'no split "train": name one of its folders, .*other/test'):
        list(cache.documents(tmp_path / "other", column="body"))


def test_what_is_not_text_or_not_whole_is_one_sentence(tmp_path: Path) -> None:
    numbers = write("parquet", tmp_path)
    with pytest.raises(DamagedFileError, match=r'column "id" of .* holds int, not text'):
        list(cache.documents(numbers, column="id"))
    numbers.write_bytes(numbers.read_bytes()[:-20])
    with pytest.raises(DamagedFileError, match="is not a readable parquet file"):
        list(cache.documents(numbers, column="body"))
    (tmp_path / "bad.csv").write_bytes(b"body\n\xff\n")
    with pytest.raises(DamagedFileError, match="is not UTF-8 text"):
        list(cache.documents(tmp_path / "bad.csv", column="body"))


def test_a_long_document_in_a_csv_file_is_whole(tmp_path: Path) -> None:
    (tmp_path / "long.csv").write_text(f"text\n{'a' * 300_000}\n")
    (text,) = cache.documents(tmp_path / "long.csv")
    assert len(text) == 300_000
