"use strict";
// The graph of an explorer: read, collapsed, ranked, followed, laid out. Knows nothing of the document.
const explorerGraph = (() => {
  const SLOT = 56;
  const ROW = 46;
  const BY = { given: "each node", place: "component and token", component: "component", token: "token", group: "group" };
  const collator = new Intl.Collator("en", { numeric: true });
  const larger = (a, b) => Math.abs(b.value) - Math.abs(a.value);

  function linked(nodes, edges) {
    nodes.forEach((node) => Object.assign(node, { in: [], out: [] }));
    for (const edge of edges) {
      nodes[edge.source].out.push(edge);
      nodes[edge.target].in.push(edge);
    }
    nodes.forEach((node) => [node.in, node.out].forEach((some) => some.sort(larger)));
    return { nodes, edges, byKey: new Map(nodes.map((node) => [node.key, node])) };
  }

  // The graph as it was given; a node's members are the rows of the given nodes.
  function read(data) {
    const { label, kind, layer, position, value, open } = data.nodes;
    const alphabetical = data.labels.map((text, i) => i).sort((a, b) => collator.compare(data.labels[a], data.labels[b]));
    const rank = [];
    alphabetical.forEach((i, at) => (rank[i] = at));
    const nodes = label.map((word, i) => ({
      index: i, key: `n${i}`, label: data.labels[word], rank: rank[word], kind: data.kinds[kind[i]], layer: layer[i],
      position: position[i], value: value[i], open: open[i] === 1, members: [i],
    }));
    const edges = data.edges.map(([source, target, amount], i) => ({ source, target, value: amount, members: [i] }));
    return linked(nodes, edges);
  }

  function keyOf(node, how, group) {
    if (group) return `g${group}`;
    if (how === "given" || how === "group" || node.kind === "target") return node.key;
    if (how === "place") return `p${node.rank} ${node.position} ${node.layer}`;
    return how === "component" ? `c${node.rank} ${node.layer}` : `t${node.position}`;
  }

  // Nodes of one key become one, with the sums of their values and of the edges between them.
  function collapsed(raw, how, groups, tokens) {
    const named = new Map(groups.flatMap((group, i) => group.members.map((row) => [row, i + 1])));
    const index = new Map();
    const nodes = [];
    const to = raw.nodes.map((node, row) => {
      const group = named.get(row);
      const key = keyOf(node, how, group);
      if (!index.has(key)) {
        index.set(key, nodes.length);
        const own = { ...node, index: nodes.length, key, value: 0, members: [], open: true, grouped: Boolean(group), weight: 0, height: 0 };
        if (group) Object.assign(own, { label: groups[group - 1].name, kind: "group" });
        if (key[0] === "c") own.position = -1;
        if (key[0] === "t") Object.assign(own, { label: node.position < 0 ? "all tokens" : tokens[node.position], kind: "token" });
        nodes.push(own);
      }
      const at = index.get(key);
      const into = nodes[at];
      into.value += node.value;
      into.open = into.open && node.open;
      into.members.push(row);
      into.weight += Math.abs(node.value);
      into.height += Math.abs(node.value) * node.layer;
      if (into.position !== node.position && key[0] === "g") into.position = -1;
      return at;
    });
    for (const node of nodes) {
      if (node.key[0] === "t") node.layer = -1;
      if (node.key[0] === "g" && node.weight) node.layer = Math.round(node.height / node.weight);
    }
    return linked(nodes, merged(raw.edges, to));
  }

  function merged(edges, to) {
    const byEnds = new Map();
    for (const edge of edges) {
      const [source, target] = [to[edge.source], to[edge.target]];
      if (source === target) continue;
      const key = source * 1e7 + target;
      if (!byEnds.has(key)) byEnds.set(key, { source, target, value: 0, members: [] });
      const into = byEnds.get(key);
      into.value += edge.value;
      into.members.push(...edge.members);
    }
    return [...byEnds.values()];
  }

  // Which ways of collapsing change anything here.
  function ways(raw, groups) {
    const count = (how) => new Set(raw.nodes.map((node) => keyOf(node, how))).size;
    const places = count("place");
    const result = places < raw.nodes.length ? ["place", "given"] : ["given"];
    if (count("component") < places) result.push("component");
    if (raw.nodes.some((node) => node.position >= 0)) result.push("token");
    return groups.length ? [...result, "group"] : result;
  }

  // Nodes in the order of being shown: the largest first, each with the way by which it reaches what it feeds.
  function ordered(graph) {
    const seen = new Set();
    const result = [];
    for (const node of [...graph.nodes].sort(larger)) {
      for (let at = node; at && !seen.has(at.index); at = at.out.length ? graph.nodes[at.out[0].target] : null) {
        seen.add(at.index);
        result.push(at);
      }
    }
    return result;
  }

  // The chain through a node of the given graph that the strongest edges lead along, from its end to its beginning.
  function greedy(raw, row) {
    const chain = [row];
    const seen = new Set(chain);
    const walk = (side, end, add) => {
      for (let at = row; raw.nodes[at][side].length; ) {
        at = raw.nodes[at][side][0][end];
        if (seen.has(at)) return;
        seen.add(at);
        add(at);
      }
    };
    walk("out", "target", (at) => chain.unshift(at));
    walk("in", "source", (at) => chain.push(at));
    return chain;
  }

  // The complete paths of a tree through some of its nodes, the largest first: chains from the target to a beginning.
  function paths(raw, members) {
    const through = members && new Set(members);
    const chains = [];
    for (const node of raw.nodes) {
      if (node.in.length || node.open || !node.out.length) continue;
      const chain = [];
      for (let at = node; at; at = at.out.length ? raw.nodes[at.out[0].target] : null) chain.unshift(at.index);
      if (!through || chain.some((row) => through.has(row))) chains.push(chain);
    }
    const size = (chain) => Math.abs(raw.nodes[chain[chain.length - 1]].value);
    return chains.sort((a, b) => size(b) - size(a));
  }

  // Places of the shown nodes in pixels: a column for each position in use, a row for each block in use, stretched
  // until they are as wide, beside their height, as the drawing is.
  function laid(shown, aspect) {
    const cells = new Map();
    for (const node of shown) {
      const key = `${node.position} ${Math.floor(node.layer)}`;
      if (!cells.has(key)) cells.set(key, []);
      cells.get(key).push(node);
    }
    const most = Math.max(...[...cells.values()].map((cell) => cell.length));
    const wrap = new Set(shown.map((node) => node.position)).size === 1 ? Math.max(12, most / 4) : Math.max(7, Math.ceil(Math.sqrt(most)));
    const columns = lane(cells, (node) => node.position, (cell) => Math.min(wrap, cell.length));
    const rows = lane(cells, (node) => Math.floor(node.layer), (cell) => Math.ceil(cell.length / wrap));
    const height = rows.end * ROW;
    const slot = Math.min(3.2 * SLOT, Math.max(SLOT, (aspect * height) / (columns.end + 0.25 * columns.all.length)));
    for (const one of columns.all) Object.assign(one, { start: one.start * slot + 0.25 * slot * one.at, width: (one.size + 0.25) * slot });
    for (const one of rows.all) Object.assign(one, { top: height - (one.start + one.size) * ROW, height: one.size * ROW });
    for (const cell of cells.values()) place(cell, columns.of.get(cell[0].position), rows.of.get(Math.floor(cell[0].layer)), wrap, slot);
    return { columns: columns.all, rows: rows.all, width: (columns.end + 0.25 * columns.all.length) * slot, height };
  }

  // Columns or rows one after another, each as large as its fullest cell.
  function lane(cells, which, size) {
    const of = new Map();
    for (const cell of cells.values()) {
      const value = which(cell[0]);
      if (!of.has(value)) of.set(value, { value, size: 1 });
      of.get(value).size = Math.max(of.get(value).size, size(cell));
    }
    const all = [...of.values()].sort((a, b) => a.value - b.value);
    let end = 0;
    all.forEach((one, at) => {
      Object.assign(one, { at, start: end });
      end += one.size;
    });
    return { of, all, end };
  }

  // MLPs stand left of the heads of their block and a little higher: what heads write, they read.
  function place(cell, column, row, wrap, slot) {
    cell.sort((a, b) => b.layer - a.layer || a.rank - b.rank);
    const lines = Math.ceil(cell.length / wrap);
    const mixed = cell[0].layer !== cell[cell.length - 1].layer;
    cell.forEach((node, i) => {
      const line = Math.floor(i / wrap);
      const along = Math.min(wrap, cell.length - line * wrap);
      const lift = mixed && node.layer % 1 ? 0.3 : 0;
      node.x = column.start + column.width / 2 + ((i % wrap) - (along - 1) / 2) * slot;
      node.y = row.top + row.height / 2 + (line - (lines - 1) / 2 - lift) * ROW;
    });
  }

  return { BY, read, collapsed, ways, ordered, greedy, paths, laid };
})();
