"""The explorer: what it refuses, what it carries, and how a reader walks through it by pointer and by keyboard."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from interp.errors import UsageError
from interp.report import Edge, Explorer, Group, Node, Section, visible, write
from interp.report.cards import Strip
from tests.report import samples
from tests.report.browser import check_page, opened, until

TOKENS = ("The", " city", " of")


def tree(**changes) -> Explorer:
    """Two heads of one target; the MLP of token 0 feeds both, so it is two nodes of the tree and one place."""
    nodes = (
        Node("t", "logit", 3.0, 2, 2, "target"),
        Node("a", "L1H0", 2.0, 1, 2, details=(("attention", 0.75), ("role", "mover"))),
        Node("b", "L1H1", -0.5, 1, 2, examples=(Strip("Strongest", (" a", " b"), (0.5, 1.0), 1),)),
        Node("m", "MLP0", 1.5, 0.5, 0, "mlp"),
        Node("n", "MLP0", -0.25, 0.5, 0, "mlp", open=True),
        Node("e", "embed", 1.25, -1, 0, "embed"),
        Node("f", "embed", 0.5, -1, 2, "embed"),
    )
    edges = (
        Edge("a", "t", 2.0, (("value", 1.75), ("key", 0.25))),
        Edge("b", "t", -0.5),
        Edge("m", "a", 1.5),
        Edge("n", "b", -0.25),
        Edge("e", "m", 1.25),
        Edge("f", "a", 0.5),
    )
    options = {
        "id": "walk",
        "caption": "Paths.",
        "alt": "A small tree.",
        "unit": "logits",
        "conserved": True,
        **changes,
    }
    return Explorer(nodes=options.pop("nodes", nodes), edges=options.pop("edges", edges), tokens=TOKENS, **options)


def grown(count: int) -> Explorer:
    """A random tree of as many nodes over thirty blocks and twelve tokens."""
    rng = np.random.default_rng(0)
    layer, position, value = [30], [11], [8.0]
    nodes, edges = [Node("0", "logit", 8.0, 30, 11, "target")], []
    for row in range(1, count):
        parent = int(rng.choice([i for i in range(max(0, row - 60), row) if layer[i] > 0] or [0]))
        layer.append(int(rng.integers(-1, layer[parent])))
        position.append(int(rng.integers(0, position[parent] + 1)))
        value.append(float(value[parent] * rng.normal() / 2))
        kind = "embed" if layer[row] < 0 else "head"
        label = "embed" if layer[row] < 0 else f"L{layer[row]}H{rng.integers(9)}"
        nodes.append(Node(str(row), label, value[row], layer[row], position[row], kind))
        edges.append(Edge(str(row), str(parent), value[row]))
    words = tuple(f" w{i}" for i in range(12))
    return Explorer("grown", tuple(nodes), tuple(edges), "A random tree.", "A random tree.", words, "logits")


def page_of(explorer: Explorer):
    return samples.page(Section("s", "S", "C.", (explorer,)))


def carried(explorer: Explorer) -> dict:
    return json.loads(gzip.decompress(base64.b64decode(explorer.packed())))


def test_nodes_edges_and_their_details_are_carried_in_order_and_to_seven_digits():
    body = carried(replace(tree(), groups=(Group("heads", ("a", "b")),)))
    assert [body["labels"][i] for i in body["nodes"]["label"]] == [node.label for node in tree().nodes]
    assert [body["kinds"][i] for i in body["nodes"]["kind"]] == [node.kind for node in tree().nodes]
    assert body["nodes"]["layer"] == [2, 1, 1, 0.5, 0.5, -1, -1]
    assert body["nodes"]["position"] == [2, 2, 2, 0, 0, 0, 2]
    assert body["nodes"]["open"] == [0, 0, 0, 0, 1, 0, 0]
    assert body["edges"] == [[1, 0, 2], [2, 0, -0.5], [3, 1, 1.5], [4, 2, -0.25], [5, 3, 1.25], [6, 1, 0.5]]
    assert body["details"] == {"1": [["attention", 0.75], ["role", "mover"]]}
    assert body["parts"] == {"0": [["value", 1.75], ["key", 0.25]]}
    assert body["examples"]["2"][0][0] == "Strongest"
    assert body["groups"] == [["heads", [1, 2]]]
    assert (body["tree"], body["conserved"], body["unit"]) == (1, 1, "logits")
    exact = replace(tree(), nodes=(Node("t", "x", 1 / 3, 0),), edges=())
    assert carried(exact)["nodes"]["value"] == [0.3333333]
    assert tree().packed() == tree().packed()


def test_a_graph_whose_node_feeds_two_is_not_a_tree():
    assert tree().is_tree
    assert not replace(tree(), edges=(*tree().edges, Edge("m", "b", 0.1))).is_tree


def test_the_tables_hold_every_node_and_edge_the_largest_first():
    assert tree().table.rows[0] == ("logit", "target", 2, 2, " of", 3.0)
    assert len(tree().table.rows) == 7
    assert tree().links.rows[0] == ("L1H0 @ ·of", "logit @ ·of", 2.0)
    assert [row[2] for row in tree().links.rows] == [2.0, 1.5, 1.25, -0.5, 0.5, -0.25]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "1"}, "cannot be the id of a graph"),
        ({"caption": " "}, "has no caption"),
        ({"nodes": (), "edges": ()}, "has no nodes"),
        ({"nodes": (Node("a", "a", 1.0, 0), Node("a", "b", 1.0, 0)), "edges": ()}, "two nodes of one id"),
        ({"nodes": (Node("a", "a", float("nan"), 0),), "edges": ()}, "give finite ones"),
        ({"nodes": (Node("a", "a", 1.0, 0, 3),), "edges": ()}, "is at position 3, but there are 3 tokens"),
        ({"edges": (Edge("a", "z", 1.0),)}, 'no node "z", which an edge names'),
        ({"edges": (Edge("a", "a", 1.0),)}, 'leads from "a" to itself'),
        ({"edges": (Edge("a", "t", float("inf")),)}, "has the value inf"),
        ({"groups": (Group("g", ("z",)),)}, 'which the group "g" names'),
    ],
)
def test_what_cannot_be_drawn_is_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        tree(**changes)


PANEL = "document.querySelector('.panel').innerText.replace(/\\n+/g, '\\n')"
TITLE = "document.querySelector('.panel .node h3')?.textContent"
COUNT = "document.querySelector('.count').textContent"


@pytest.mark.browser
def test_a_reader_walks_by_keyboard_and_reads_exact_numbers(tmp_path, browser):
    with opened(browser, write(page_of(tree()), tmp_path)) as (page, faults):
        # The strongest path is followed at first: the leaf of the largest value, not the largest open node.
        assert "Path 1 by size: +1.25 logits" in page.evaluate(PANEL)
        assert page.evaluate(COUNT) == "6 of 6 nodes"
        page.focus(".explorer canvas")
        page.keyboard.press("Home")
        assert page.evaluate(TITLE) == "logit @ ·of"
        assert "Inputs listed sum to +1.5 logits; the rest is +1.5 logits." in page.evaluate(PANEL)
        page.keyboard.press("ArrowDown")
        assert page.evaluate(TITLE) == "L1H0 @ ·of"
        text = page.evaluate(PANEL)
        assert "attention" in text
        assert "0.75" in text
        assert "value 1.75 · key 0.25" in text
        page.keyboard.press("ArrowRight")
        assert page.evaluate(TITLE) == "L1H1 @ ·of"
        assert page.evaluate("document.querySelector('.panel .strip').textContent").startswith(" a b")
        page.keyboard.press("ArrowDown")
        assert page.evaluate(TITLE) == "MLP0 @ The"  # both of the tree's nodes: one place
        assert "+1.25 logits\nmlp · sum of 2 nodes" in page.evaluate(PANEL)
        caption = page.evaluate("document.querySelector('.explorer .said').textContent")
        assert caption == (
            "MLP0 @ The, +1.25 logits. Feeds L1H0 @ ·of +1.5 logits, L1H1 @ ·of −0.25 logits. "
            "Fed by embed @ The +1.25 logits."
        )
        page.keyboard.press("Escape")
        assert page.evaluate(TITLE) == "L1H1 @ ·of"
        page.keyboard.press("p")
        assert "Path 1 by size: −0.25" not in page.evaluate(PANEL)  # it begins at an open node: no complete path
        assert not faults


@pytest.mark.browser
def test_nodes_are_collapsed_pinned_grouped_searched_and_brought_back(tmp_path, browser):
    grouped = replace(tree(), groups=(Group("movers", ("a", "b")),))
    with opened(browser, write(page_of(grouped), tmp_path)) as (page, faults):
        options = "[...document.querySelectorAll('[data-ask=how] option')].map(option => option.value)"
        assert page.evaluate(options) == ["place", "given", "component", "token", "group"]
        for how, count in (("given", 7), ("component", 5), ("token", 3), ("group", 6)):
            page.select_option("[data-ask=how]", how)
            assert page.evaluate(COUNT) == f"{count} of {count} nodes", how
        page.select_option("[data-ask=how]", "place")
        page.fill("[data-ask=search]", "l1h")
        assert "2 nodes match" in page.evaluate(PANEL)
        page.press("[data-ask=search]", "Enter")
        assert page.evaluate(TITLE) == "L1H0 @ ·of"
        page.fill("[data-ask=search]", "")
        page.focus(".explorer canvas")
        page.keyboard.press(" ")
        page.keyboard.press("ArrowRight")
        page.keyboard.press(" ")
        page.keyboard.press("g")
        assert page.evaluate(TITLE) == "L1H0 and 1 more @ ·of"
        assert "+1.5 logits\ngroup · sum of 2 nodes" in page.evaluate(PANEL)
        assert page.evaluate(COUNT) == "5 of 5 nodes"
        page.click("text=Ungroup")
        assert page.evaluate(COUNT) == "6 of 6 nodes"
        assert not faults


@pytest.mark.browser
def test_a_large_tree_opens_on_its_largest_nodes_and_is_expanded(tmp_path, browser):
    with opened(browser, write(page_of(grown(2000)), tmp_path)) as (page, faults):
        first = int(page.evaluate(COUNT).split()[0])
        assert 40 <= first < 60
        page.focus(".explorer canvas")
        page.keyboard.press("Home")
        page.keyboard.press("Enter")
        assert int(page.evaluate(COUNT).split()[0]) > first
        page.keyboard.press("Escape")
        page.keyboard.press("Escape")
        assert int(page.evaluate(COUNT).split()[0]) == first
        with page.expect_download() as waited:
            page.click("[data-do=svg]")
        drawn = Path(waited.value.path()).read_text()
        assert waited.value.suggested_filename == "grown.svg"
        assert drawn.count("<path") > 5
        assert ">logit</text>" in drawn
        assert not faults


@pytest.mark.browser
def test_hostile_labels_and_tokens_stay_text(tmp_path, browser):
    count = len(samples.HOSTILE)
    nodes = tuple(
        Node(text, text, 1.0 + i, i, i, text, details=((text, text),), examples=(Strip(text, (text,), (1.0,), 0),))
        for i, text in enumerate(samples.HOSTILE)
    )
    edges = tuple(
        Edge(samples.HOSTILE[i], samples.HOSTILE[i + 1], 1.0, ((samples.HOSTILE[i], 1.0),)) for i in range(count - 1)
    )
    bad = " ".join(samples.HOSTILE)
    hostile = Explorer("hostile", nodes, edges, bad, bad, samples.HOSTILE, bad, (Group(bad, (nodes[0].id,)),))
    path = write(page_of(hostile), tmp_path)
    check_page(path, "light", browser=browser, axe=False)
    with opened(browser, path) as (page, faults):
        for text in samples.HOSTILE:
            page.evaluate(
                "text => { const find = document.querySelector('[data-ask=search]'); find.value = text; "
                "find.dispatchEvent(new Event('input')); }",
                visible(text),
            )
        page.focus(".explorer canvas")
        for _ in range(count):
            page.keyboard.press("ArrowDown")
        page.click("[data-do=svg]")
        assert not page.evaluate("document.querySelector('.panel :is(img, a, script, b, i)') || 'PWNED' in window")
        assert not faults


@pytest.mark.browser
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_the_explorer_is_accessible_and_fits(tmp_path, browser, scheme, width):
    check_page(write(page_of(tree()), tmp_path), scheme, browser=browser, width=width)


@pytest.mark.browser
def test_an_explorer_in_a_fold_is_drawn_when_it_opens(tmp_path, browser):
    folded = samples.page(Section("s", "S", "C.", (tree(),), shown=0))
    inked = (
        "(() => { const c = document.querySelector('.explorer canvas'); if (!c.width) return false; const d = "
        "c.getContext('2d').getImageData(0, 0, c.width, c.height).data; return new Set(d).size > 20; })()"
    )
    with opened(browser, write(folded, tmp_path)) as (page, faults):
        page.evaluate("document.querySelector('details.more').open = true")
        assert until(page, inked)
        assert not faults
