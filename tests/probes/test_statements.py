"""Statements from files and memory: what is read, reported or refused, and how entities are determined."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

import probes
from interp.errors import DamagedFileError, MissingInputError, UsageError
from interp.results import load

HEADER = "statement,label,city\n"


def rows(*pairs: tuple[str, object], **columns: list[object]) -> list[dict[str, object]]:
    extra = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return [{"statement": s, "label": y} | (extra[i] if extra else {}) for i, (s, y) in enumerate(pairs)]


BOTH = rows(("Paris is in France.", 1), ("Paris is in Peru.", 0))


def test_csv_is_read_by_the_standard(tmp_path):
    """A byte order mark, quoted commas, doubled quotes, a line break inside a field, Windows line ends."""
    file = tmp_path / "facts.csv"
    file.write_bytes(
        '\ufeffstatement,label\r\n"Lyon, in short, is in France.",1\r\n"He said ""no"".\nTwice.",0\r\n'.encode()
    )
    data = probes.read_statements(file)
    assert data.name == "facts"
    assert data.statements == ("Lyon, in short, is in France.", 'He said "no".\nTwice.')
    assert data.labels.tolist() == [1, 0] and data.labels.dtype == np.int8
    assert data.problems == ()


def test_csv_jsonl_and_memory_agree(tmp_path):
    given = rows(("Paris is in France.", 1), ("Oslo is in Peru.", 0), city=["Paris", "Oslo"], topic=["a", "b"])
    (tmp_path / "s.jsonl").write_text("\n".join(json.dumps(row) for row in given))
    lines = ["statement,label,city,topic", *(",".join(map(str, row.values())) for row in given)]
    (tmp_path / "s.csv").write_text("\n".join(lines))
    read = [probes.read_statements(source, name="s") for source in (given, tmp_path / "s.csv", tmp_path / "s.jsonl")]
    assert read[0] == read[1] == read[2]
    assert read[0].topic == ("a", "b") and read[0].groups == (("Paris",), ("Oslo",))


def test_labels_in_words_and_numbers():
    for pair in ((1, 0), ("1", "0"), (True, False), ("TRUE", "false"), (1.0, 0.0)):
        data = probes.read_statements(rows(("a is b.", pair[0]), ("a is c.", pair[1])))
        assert data.labels.tolist() == [1, 0]


@pytest.mark.parametrize("label", ["2", "-1", "yes", "0.5", "nan"])
def test_other_labels_are_refused_with_their_row(label):
    with pytest.raises(UsageError, match=rf'the label "{label}" \(row 3\) is neither 0 nor 1'):
        probes.read_statements([*BOTH, {"statement": "Rome is in Italy.", "label": label}])


def test_what_is_refused(tmp_path):
    def read(name: str, text: str) -> None:
        (tmp_path / name).write_text(text)
        probes.read_statements(tmp_path / name)

    with pytest.raises(MissingInputError, match="There is no file"):
        probes.read_statements(tmp_path / "none.csv")
    with pytest.raises(
        UsageError, match=r'no column "label"; the nearest is "labels". Its columns are: statement, labels'
    ):
        read("a.csv", "statement,labels\nA.,1\n")
    with pytest.raises(UsageError, match="is empty"):
        read("b.csv", " \n")
    with pytest.raises(UsageError, match="has no row with a statement"):
        read("c.csv", HEADER)
    with pytest.raises(UsageError, match="all 2 statements are false; a probe needs both classes"):
        read("d.csv", HEADER + "A.,0,x\nB.,0,y\n")
    with pytest.raises(UsageError, match=r"not a \.csv, \.tsv or \.jsonl file"):
        read("e.txt", HEADER)
    with pytest.raises(DamagedFileError, match="is not valid CSV"):
        read("f.csv", HEADER + '"never closed,1,x\n')
    (tmp_path / "g.csv").write_bytes(b"statement,label\n\xff\xfe,1\n")
    with pytest.raises(DamagedFileError, match="UTF-8"):
        probes.read_statements(tmp_path / "g.csv")
    with pytest.raises(UsageError, match="dictionaries"):
        probes.read_statements(["Paris is in France."])  # type: ignore[list-item]


def test_what_cannot_be_read_is_reported(tmp_path):
    file = tmp_path / "odd.csv"
    file.write_text("statement,label\nA is b.,1\nA is c.,0\n,1\nA is d.,\nA is e.,1,2\n\nA is f.,0\nA is g.,1\n")
    data = probes.read_statements(file)
    assert data.statements == ("A is b.", "A is c.", "A is f.", "A is g.")
    assert tuple(map(str, data.problems)) == (
        "left out: row 5 without the header's 2 fields",
        "left out: row 3 without a statement",
        "left out: row 4 without a label",
    )
    (tmp_path / "odd.jsonl").write_text('{"statement": "A is b.", "label": 1}\nnot json\n[1]\n' + json.dumps(BOTH[1]))
    (problem,) = probes.read_statements(tmp_path / "odd.jsonl").problems
    assert (problem.kind, str(problem)) == ("left-out", "left out: rows 2, 3 without a JSON object")


def test_problems_are_reported_and_rows_not_removed():
    data = probes.read_statements(rows(("A is b.", 1), ("A is b.", 1), ("A is c.", 1), ("A is c.", 0), ("A is d.", 1)))
    assert len(data) == 5
    assert tuple(map(str, data.problems)) == (
        "2 repeated statements: rows 2, 4",
        "1 statements carry both labels: rows 3, 4",
        "unbalanced: 80% of the statements are true, so that accuracy alone misleads",
    )
    clean = data.deduplicated()
    assert clean.statements == ("A is b.", "A is d.")
    assert [p.kind for p in data.problems] == ["repeated", "contradicted", "unbalanced"]
    assert list(map(str, clean.problems)) == ["left out: 3 rows that repeat a statement or contradict one"]
    # Problems reported before remain, in any wording; in a joined set they follow the name of their part.
    again = probes.join([clean, probes.read_statements(BOTH, name="both")]).deduplicated()
    assert [p.kind for p in again.problems] == ["left-out", "left-out"]
    assert str(again.problems[1]) == f"{clean.name}: {clean.problems[0]}"
    assert probes.read_statements(BOTH).problems == ()  # and a set without problems has none


class TestGroups:
    """Rules that determine the entities."""

    def test_a_column_in_every_statement(self):
        given = [
            {"statement": "Lyon is in Peru.", "label": 0, "true": "France", "city": "Lyon", "country": "Peru"},
            {"statement": "Oslo is in Norway.", "label": 1, "true": "Norway", "city": "Oslo", "country": "Norway"},
        ]
        data = probes.read_statements(given)
        # "true" is not in the first statement; "city" and "country" are in both, but share no values.
        assert data.groups == (("Lyon",), ("Oslo",)) and data.grouped_by == "the column city"

    def test_numbers_in_words_and_both_columns(self):
        given = [
            {"statement": f"{a} is larger than {b}.", "label": int(x > y), "n1": x, "n2": y, "diff": x - y}
            for a, b, x, y in (("Fifty-one", "fifty-two", 51, 52), ("Fifty-two", "fifty-one", 52, 51))
        ]
        data = probes.read_statements(given)
        assert data.groups == (("51", "52"), ("52", "51")) and data.grouped_by == "the columns n1 and n2"

    def test_quoted_text_subject_and_nothing(self):
        quoted = probes.read_statements(rows(("The word 'o''o' is 'x'.", 1), ("The word 'sol' means 'sun'.", 0)))
        assert quoted.groups[1] == ("sol",) and quoted.grouped_by == "the first quoted text"
        firms = [
            ("It's not true that Bank of America has cars.", 1),
            ("Bank of America has banks.", 1),
            ("Eni has cars.", 0),
        ]
        named = probes.read_statements(rows(*firms))
        assert named.groups == (("Bank of America",), ("Bank of America",), ("Eni",))
        assert named.grouped_by == "the subject, up to the first verb"
        towns = [("The city of Lodz is in Poland.", 1), ("It is not the case that the city of Lodz is in Peru.", 1)]
        named = probes.read_statements(rows(*towns, ("The city of Baku is in Peru.", 0)))
        assert named.groups == (("The city of Lodz",), ("The city of Lodz",), ("The city of Baku",))
        loose = probes.read_statements(rows(*((f"Thing {i} really{i} is.", i % 2) for i in range(60))))
        assert loose.grouped_by == "every fact its own group, stated or denied" and len(set(loose.groups)) == 60

    def test_given(self):
        by_column = probes.read_statements(rows(("A.", 1), ("B.", 0), key=["x", "y"], more=["p", "q"]), group="key")
        assert by_column.groups == (("x",), ("y",)) and by_column.grouped_by == "the column key"
        both = probes.read_statements(
            rows(("A.", 1), ("B.", 0), key=["x", "y"], more=["p", "q"]), group=["key", "more"]
        )
        assert both.groups == (("x", "p"), ("y", "q"))
        result = probes.read_statements(BOTH, group=r"^(\w+) is in (\w+)")
        assert result.groups == (("Paris", "France"), ("Paris", "Peru"))
        assert probes.read_statements(rows(("A.", 1), ("B.", 0), group=["x", "y"])).groups == (("x",), ("y",))

    def test_refused(self):
        with pytest.raises(UsageError, match="it does not match 2 of 2 statements, such as"):
            probes.read_statements(BOTH, group="city")
        with pytest.raises(UsageError, match="neither a column nor a valid regular expression"):
            probes.read_statements(BOTH, group="(")
        with pytest.raises(UsageError, match="The group is empty in row 2"):
            probes.read_statements(rows(("A.", 1), ("B.", 0), group=["x", ""]))


def test_polarity_is_inferred_or_given():
    result = probes.read_statements(rows(("A is b.", 1), ("A is not b.", 0), ("A isn't b.", 0), ("A knots b.", 1)))
    assert result.polarity is not None and result.polarity.tolist() == [1, -1, -1, 1]
    given = probes.read_statements(rows(("A.", 1), ("B.", 0), polarity=["affirmative", "-1"]))
    assert given.polarity is not None and given.polarity.tolist() == [1, -1]
    with pytest.raises(UsageError, match='polarity "maybe"'):
        probes.read_statements(rows(("A.", 1), ("B.", 0), polarity=["1", "maybe"]))


def test_pairs_and_joins():
    yes = probes.read_statements(BOTH, name="yes")
    no = probes.read_statements(rows(("Paris is not in France.", 0), ("Paris is not in Peru.", 1)), name="no")
    both = probes.paired(yes, no)
    assert both.pair == ("yes 1", "yes 2", "yes 1", "yes 2")
    assert both.polarity is not None and both.polarity.tolist() == [1, 1, -1, -1]
    assert both.topic == ("yes", "yes", "no", "no")
    with pytest.raises(UsageError, match="does not negate yes row by row: rows 1, 2"):
        probes.paired(yes, yes)
    with pytest.raises(UsageError, match="pairs need equal numbers of rows"):
        probes.paired(yes, no.take([0]))
    with pytest.raises(UsageError, match="at least one set"):
        probes.join([])


def test_take_save_and_load(tmp_path):
    data = probes.read_statements(rows(("A is b.", 1), ("A is c.", 0), ("B is c.", 1), topic=["x", "y", "z"]))
    mask = np.array([True, False, True])
    assert data.take(mask) == data.take([0, 2])
    assert data.take(mask).topic == ("x", "z") and data.take(mask).sha256() != data.sha256()
    data.save(tmp_path / "set")
    assert load(tmp_path / "set") == data
    layout_1 = ("left out: row 3 without a label", "1 repeated statements: row 2", "unbalanced: 80% of them are true")
    layout_1 += ("both: left out: row 1 without a label", "1 statements carry both labels: row 1")
    upgraded = probes.Statements.upgrade({"name": "set", "problems": layout_1}, 1)
    kinds = ["left-out", "repeated", "unbalanced", "left-out", "contradicted"]
    assert [p.kind for p in upgraded["problems"]] == kinds
    assert tuple(map(str, upgraded["problems"])) == layout_1


def test_reads_without_torch():
    code = "import sys, probes; probes.generate('capitals'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("file", "n", "entities", "rule"),
    [
        ("cities", 1496, 748, "the column city"),
        ("neg_cities", 1496, 748, "the column city"),
        ("sp_en_trans", 354, 344, "the first quoted text"),
        ("larger_than", 1980, 45, "the columns n1 and n2"),
        ("companies_true_false", 1200, 200, "the subject, up to the first verb"),
        ("common_claim_small", 1000, 1000, "every fact its own group, stated or denied"),
    ],
)
def test_the_public_sets(test_data, file, n, entities, rule):
    data = probes.read_statements(test_data / "truth" / f"{file}.csv")
    assert len(data) == n and len({e for row in data.groups for e in row}) == entities
    assert data.grouped_by == rule and data.labels.mean() == 0.5


def test_cities_deny_each_other_row_by_row(test_data):
    yes, no = (probes.read_statements(test_data / "truth" / f"{name}.csv") for name in ("cities", "neg_cities"))
    assert len(probes.paired(yes, no)) == 2992
    copies = probes.read_statements(test_data / "truth" / "neg_companies_true_false.csv")
    assert copies.problems[0].text.startswith("100 repeated statements")


class TestHuggingFace:
    """A data set by name, with the client replaced: no test asks the network."""

    def test_rows_become_statements(self, monkeypatch):
        import datasets

        asked = []

        def load_dataset(name, split):
            asked.append((name, split))
            return datasets.Dataset.from_list(
                [{"claim": "A is b.", "truth": True}, {"claim": "A is c.", "truth": False}]
            )

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        data = probes.read_statements("hf:someone/claims", statement="claim", label="truth", split="test")
        assert asked == [("someone/claims", "test")]
        assert data.name == "claims" and data.labels.tolist() == [1, 0]

    def test_one_error_for_whatever_the_client_raises(self, monkeypatch):
        import datasets

        def load_dataset(name, split):
            raise ConnectionError("offline\nand a long trace")

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        with pytest.raises(
            MissingInputError, match=r'The split "train" of the dataset "x/y" could not be loaded: offline$'
        ):
            probes.read_statements("hf:x/y")
