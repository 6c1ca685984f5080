"""Text and tokens to contexts: nothing lost or doubled, BOS as the tokenizer adds it, mistakes in one sentence."""

from __future__ import annotations

import io
import json

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from safetensors.numpy import save_file

import interp
from interp import cache
from interp.cache import text as reading
from interp.cache.contexts import _packed, contexts_of
from interp.errors import DamagedFileError, MissingInputError, UsageError
from tests import models

WORDS = "the tower is in Paris a b the tower is in London a b"
BOS, EOS = 1, 2


@pytest.fixture(scope="module")
def plain():
    """A tokenizer that adds nothing by itself and has an EOS."""
    tokenizer = models.tokenizer()
    tokenizer.eos_token = "<pad>"
    return interp.load(models.build("llama"), tokenizer=tokenizer)


@pytest.fixture(scope="module")
def with_bos():
    return interp.load(models.build("llama"), tokenizer=models.tokenizer(bos=True))


def pack(model, documents, length, **options):
    return contexts_of(model, documents, length=length, max_tokens=10**6, **options)


DOCUMENTS = st.lists(st.lists(st.integers(3, 60), max_size=12), min_size=1, max_size=8)


@given(DOCUMENTS, st.integers(1, 7))
@settings(max_examples=80, deadline=None)
def test_packed_contexts_are_the_documents_and_their_ends(documents, length):
    rows = list(_packed(iter(documents), length, None, EOS))
    joined = [token for ids in documents for token in [*ids, EOS]]
    flat = [token for row in rows for token in row.tolist()]
    assert flat == joined[: len(flat)]
    assert len(joined) - len(flat) < length and all(len(row) == length for row in rows)


@given(DOCUMENTS, st.integers(2, 7))
@settings(max_examples=80, deadline=None)
def test_every_context_begins_with_one_bos_and_documents_are_parted_by_it(documents, length):
    rows = [row.tolist() for row in _packed(iter(documents), length, BOS, BOS)]
    assert all(len(row) == length and row[0] == BOS for row in rows)
    flat = [token for row in rows for token in row if token != BOS]
    joined = [token for ids in documents for token in ids]
    # The tokens of the text are all there, in order; the tail, less than a context with its BOS marks, is not.
    assert flat == joined[: len(flat)] and len(joined) - len(flat) < length
    ends = set(np.cumsum([len(ids) for ids in documents]).tolist())
    seen = 0
    for row in rows:
        for at, token in enumerate(row):
            assert token != BOS or at == 0 or seen in ends | {0}
            seen += token != BOS


def test_text_comes_back_from_its_contexts(plain):
    result = pack(plain, [WORDS, WORDS], 5)
    decoded = plain.tokenizer.decode(result.tokens.flatten(), clean_up_tokenization_spaces=False)
    assert decoded == (WORDS + "<pad>" + WORDS + "<pad>")
    assert (result.prepend_bos, result.separator, result.n_token) == (False, EOS, 30)
    assert (result.lengths == 5).all()


def test_bos_follows_the_tokenizer_unless_set(plain, with_bos):
    assert pack(with_bos, [WORDS], 4).tokens[:, 0].tolist() == [BOS] * 4
    assert pack(with_bos, [WORDS], 4, prepend_bos=False).tokens[0].tolist() == plain.to_tokens(WORDS)[0, :4].tolist()
    forced = pack(plain, [WORDS], 4, prepend_bos=True)
    assert forced.prepend_bos is True and torch.equal(forced.tokens, pack(with_bos, [WORDS], 4).tokens)


def test_unpacked_documents_keep_to_themselves(with_bos):
    result = pack(with_bos, ["the tower", "is in Paris a"], 6, pack=False)
    assert result.lengths.tolist() == [3, 5] and result.n_token == 8
    assert result.tokens[0].tolist() == [*with_bos.to_tokens("the tower")[0].tolist(), 0, 0, 0]
    assert result.stored(("first", "padding"), 0, 2).sum(1).tolist() == [2, 4]
    assert result.stored(("padding",), 0, 2).sum(1).tolist() == [3, 5] and result.stored((), 0, 2).all()


def test_tokens_are_rows_of_contexts_or_one_long_text(plain):
    rows = models.tokens(4, 6)
    for source in (rows, rows.numpy(), rows.tolist(), iter(rows), (np.array(row) for row in rows.tolist())):
        assert torch.equal(pack(plain, source, 6).tokens, rows.int())
    assert pack(plain, rows.flatten(), 5).tokens.flatten().tolist() == rows.flatten()[:20].tolist()
    assert pack(plain, rows.flatten(), 5).sha256() != pack(plain, rows, 6).sha256()
    marked = rows.clone()
    marked[:, 0] = BOS
    assert [pack(plain, x, 6).prepend_bos for x in (rows, marked, torch.cat([rows, marked]))] == [False, True, None]


def test_the_digest_is_of_the_tokens_and_not_of_their_padding(plain):
    rows = [[3, 4, 5], [6, 7]]
    assert pack(plain, rows, 3).sha256() == pack(plain, rows, 9).sha256()
    assert pack(plain, rows, 3).sha256() != pack(plain, [[3, 4], [5, 6, 7]], 3).sha256()


def test_no_more_is_read_than_is_wanted(plain):
    def endless():
        while True:
            yield WORDS

    result = contexts_of(plain, endless(), length=7, max_tokens=50)
    assert (len(result), result.n_token) == (7, 49)
    again = contexts_of(plain, result, length=7, max_tokens=20)
    assert torch.equal(again.tokens, result.tokens[:2])


MISTAKES = {
    "a name for text": ("corpus.txt", r"cache\.documents\("),
    "nothing": ([], "the source is empty"),
    "too short": (["the"], "fewer than 4 tokens"),
    "too short a row of tokens": (torch.tensor([1, 2]), "2 tokens, fewer than one context of 4"),
    "a row too long": ([[1] * 5], "Row 0 of the source has 5 tokens: one to 4 fit"),
    "an empty row": ([[1], []], "Row 1 of the source has 0 tokens"),
    "fractions": ([[1.5, 2.0]], "Item 0 of the source is list, not a row of integer"),
    "text after tokens": ([[1, 2], "the"], "Item 1 of the source is str"),
    "tokens after text": (["the", [1]], "Some items of the source are text and some are not"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_source_that_cannot_be_used(name, plain):
    source, message = MISTAKES[name]
    with pytest.raises(UsageError, match=message):
        pack(plain, source, 4)


def test_an_unpacked_document_is_never_cut_in_silence(plain):
    with pytest.raises(UsageError, match=r"Row 1 of the source has 14 tokens: one to 6"):
        pack(plain, ["the tower", WORDS], 6, pack=False)


def test_files_folders_and_standard_input(tmp_path, monkeypatch):
    (tmp_path / "deep").mkdir()
    (tmp_path / "b.txt").write_text("second", encoding="utf-8")
    (tmp_path / "a.md").write_bytes("naïve\r\nfirst 🗼".encode())
    (tmp_path / "deep" / "c.jsonl").write_text('{"text": "third"}\n\n{"text": "", "id": 1}\n{"text": "fourth"}\n')
    (tmp_path / "ignored.png").write_bytes(b"\xff\x00")
    assert list(cache.documents(tmp_path)) == ["naïve\r\nfirst 🗼", "second", "third", "fourth"]
    monkeypatch.setattr("sys.stdin", io.StringIO("typed"))
    assert list(cache.documents(tmp_path / "b.txt", "-")) == ["second", "typed"]


def test_a_long_text_is_read_in_pieces_at_line_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "PIECE", 10)
    content = "one two three\nfour\n\nfive six seven eight nine\n" + "x" * 35
    (tmp_path / "long.txt").write_text(content)
    pieces = list(cache.documents(tmp_path / "long.txt"))
    assert "".join(pieces) == content and max(map(len, pieces)) <= 20
    assert pieces[0] == "one two three\n" and len(pieces) > 3


def test_token_files(tmp_path, plain):
    rows = models.tokens(3, 8).numpy()
    np.save(tmp_path / "rows.npy", rows)
    np.save(tmp_path / "long.npy", rows.flatten().astype(np.uint16))
    save_file({"tokens": rows}, tmp_path / "rows.safetensors")
    for name in ("rows.npy", "rows.safetensors", "long.npy"):
        result = pack(plain, cache.token_rows(tmp_path / name, context=8), 8)
        assert torch.equal(result.tokens, torch.from_numpy(rows).int())


BROKEN = {
    "not utf-8.txt": (b"caf\xe9", "not UTF-8"),
    "no json.jsonl": (b'{"text": "a"}\n{"text": \n', "Line 2 of .* is not a JSON object"),
    "no text.jsonl": (b'{"body": "a"}\n', 'Line 1 of .* is not a JSON object with a string "text"'),
    "list.jsonl": (b"[1]\n", "Line 1"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_text_that_cannot_be_read(name, tmp_path):
    content, message = BROKEN[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DamagedFileError, match=message):
        list(cache.documents(tmp_path / name))


def test_a_token_file_that_cannot_be_read(tmp_path):
    np.save(tmp_path / "floats.npy", np.ones(3))
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "short.npy").write_bytes(b"\x93NUMPY")
    save_file({"ids": np.ones(3, dtype=np.int32)}, tmp_path / "other.safetensors")
    for name, message in {
        "floats.npy": "1-dimensional float64",
        "objects.npy": "not a readable .npy",
        "short.npy": "not a readable .npy",
        "other.safetensors": 'no tensor called "tokens"',
    }.items():
        with pytest.raises(DamagedFileError, match=message):
            list(cache.token_rows(tmp_path / name))


def test_what_is_not_there(tmp_path):
    (tmp_path / "only.png").write_bytes(b"")
    for source, message in {
        str(tmp_path / "no.txt"): r"no file or folder .*no\.txt.*hf:NAME",
        str(tmp_path): "holds no text: looked for .txt",
        "hf:nobody/nothing": '"nobody/nothing" cannot be read here .*check its name',
    }.items():
        with pytest.raises(MissingInputError, match=message):
            list(cache.documents(source))
    with pytest.raises(MissingInputError, match="no file"):
        list(cache.token_rows(tmp_path / "no.npy"))


def test_a_dataset_by_name(monkeypatch):
    asked = []

    def load_dataset(name, config, *, split, streaming):
        asked.append((name, config, split, streaming))
        column = "body" if name == "odd" else "text"
        return datasets.Dataset.from_list([{column: "one"}, {column: ""}, {column: "two"}])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert list(cache.documents("hf:who/what", "hf:x:validation:en")) == ["one", "two"] * 2
    assert asked == [("who/what", None, "train", True), ("x", "en", "validation", True)]
    with pytest.raises(MissingInputError, match=r'no column "text" \(it has: body\)'):
        list(cache.documents("hf:odd"))


def test_a_line_of_json_is_one_document(tmp_path):
    texts = ["one\ntwo", "</script>", "🗼"]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    assert list(cache.documents(tmp_path / "x.jsonl")) == texts
