"use strict";
// An explorer: what is selected, shown and collapsed, and how the reader changes it. Text only ever becomes text.
function drawExplorer(place, data) {
  const { BY, read, collapsed, ways, ordered, greedy, paths, laid } = explorerGraph;
  const { LEFT, BOTTOM, draw, drawMoved, colours, radius, spot, svgPen } = explorerDrawing;
  const REVEALED = 8;
  const LARGE = 1200;
  const [canvas, panel, said] = ["canvas", ".panel", ".said"].map((what) => place.querySelector(what));
  const [search, how, amount] = ["search", "how", "amount"].map((what) => place.querySelector(`[data-ask="${what}"]`));
  const pen = canvas.getContext("2d");
  const raw = read(data);
  const unit = data.unit ? ` ${data.unit}` : "";
  const output = raw.nodes.find((node) => node.kind === "target")?.layer;
  const groups = data.groups.map(([name, members]) => ({ name, members }));
  const history = [];
  let state = { how: ways(raw, groups)[0], count: 0, selected: "", revealed: [], pinned: [], groups: [], path: [], turn: 0 };
  let graph, shown, scene, still, waiting, resting, moved;

  const amountText = (value) => (value > 0 ? "+" : "") + written(value, 6) + unit;
  const nameOf = (node) => node.label + (node.position < 0 || node.kind === "token" ? "" : ` @ ${data.tokens[node.position]}`);
  const selected = () => graph.byKey.get(state.selected);
  const aside = explorerPanel(raw, data, { nameOf, amountText }, { select, expand, follow, pin, ungroup });

  // --- what is shown ---------------------------------------------------------------------------------------------

  function regroup() {
    if (graph && graph.how === state.how && graph.groups === state.groups) return;
    const use = state.how === "group" ? groups : state.groups;
    graph = collapsed(raw, state.how === "group" ? "given" : state.how, use, data.tokens);
    Object.assign(graph, { how: state.how, groups: state.groups, order: ordered(graph) });
    graph.of = [];
    graph.nodes.forEach((node) => node.members.forEach((row) => (graph.of[row] = node)));
    amount.max = graph.nodes.length;
    amount.min = Math.min(5, graph.nodes.length);
  }

  function choose() {
    const wanted = new Set(graph.order.slice(0, state.count).map((node) => node.key));
    for (const key of [...state.revealed, ...state.pinned, state.selected]) if (graph.byKey.has(key)) wanted.add(key);
    for (const row of state.path) wanted.add(graph.of[row].key);
    shown = graph.nodes.filter((node) => wanted.has(node.key));
    const layout = laid(shown, (canvas.clientWidth - LEFT) / (canvas.clientHeight - BOTTOM));
    const edges = graph.edges.filter((edge) => wanted.has(graph.nodes[edge.source].key) && wanted.has(graph.nodes[edge.target].key));
    edges.sort((a, b) => Math.abs(b.value) - Math.abs(a.value));
    const strongest = edges.length ? Math.abs(edges[0].value) || 1 : 1;
    const sizes = shown.filter((node) => node.kind !== "target").map((node) => Math.abs(node.value));
    const largest = sizes.reduce((a, b) => Math.max(a, b), 0) || 1;
    const matched = new Set(matches().map((node) => node.key));
    const view = scene ? scene.view : { x: 0, y: 0, k: 1 };
    scene = { graph, shown, edges, layout, strongest, largest, view, matched, pinned: new Set(state.pinned), selected: state.selected, tokens: data.tokens, output };
    light();
  }

  // The path, or the edges of the selected node, stand out.
  function light() {
    scene.lit = new Set();
    scene.litNodes = new Set(state.path.map((row) => graph.of[row].key));
    const onPath = new Set(state.path.slice(1).map((row, i) => `${graph.of[row].index} ${graph.of[state.path[i]].index}`));
    const node = selected();
    for (const edge of scene.edges) {
      const touches = node && !state.path.length && (edge.source === node.index || edge.target === node.index);
      if (!touches && !onPath.has(`${edge.source} ${edge.target}`)) continue;
      scene.lit.add(edge);
      scene.litNodes.add(graph.nodes[edge.source].key).add(graph.nodes[edge.target].key);
    }
    if (node) scene.litNodes.add(node.key);
  }

  function matches() {
    const wanted = search.value.trim().toLowerCase();
    if (!wanted) return [];
    const fits = (node) => `${nameOf(node)} ${node.kind}`.toLowerCase().includes(wanted.replace(/ /g, "·")) || nameOf(node).toLowerCase().includes(wanted);
    return graph.order.filter(fits).sort((a, b) => Math.abs(b.value) - Math.abs(a.value));
  }

  function fit() {
    const [width, height] = [canvas.clientWidth - LEFT - 12, canvas.clientHeight - BOTTOM - 10];
    const k = Math.min(1.25, width / scene.layout.width, height / scene.layout.height);
    scene.view = { k, x: (scene.layout.width - width / k) / 2 - 6 / k, y: (scene.layout.height - height / k) / 2 - 4 / k };
    repaint();
  }

  function zoom(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
    const { view } = scene;
    const k = Math.max(0.02, Math.min(4, view.k * factor));
    move({ k, x: view.x + (x - LEFT) * (1 / view.k - 1 / k), y: view.y + y * (1 / view.k - 1 / k) });
  }

  function sized() {
    const [width, height, ratio] = [canvas.clientWidth, canvas.clientHeight, devicePixelRatio || 1];
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    Object.assign(scene, { width, height, paint: colours(place) });
  }

  // A picture of a large drawing is moved and stretched until the view has come to rest.
  function paint() {
    waiting = 0;
    if (!canvas.clientWidth) return;
    sized();
    draw(pen, scene);
    still = null;
    if (shown.length + scene.edges.length < LARGE) return;
    still = { picture: document.createElement("canvas"), view: scene.view };
    still.picture.width = canvas.width;
    still.picture.height = canvas.height;
    still.picture.getContext("2d").drawImage(canvas, 0, 0);
  }

  function paintMoved() {
    waiting = 0;
    if (!still) return paint();
    drawMoved(pen, scene, still);
    clearTimeout(resting);
    resting = setTimeout(repaint, 160);
    return undefined;
  }

  function repaint() {
    clearTimeout(resting);
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(paint);
  }

  function move(view) {
    scene.view = view;
    if (!waiting) waiting = requestAnimationFrame(paintMoved);
  }

  // How many nodes are shown at first: all, if they are not many more than fit.
  function first() {
    const room = canvas.clientWidth < 500 ? data.first / 2 : data.first;
    return graph.nodes.length <= 1.5 * room ? graph.nodes.length : room;
  }

  // Changes the state; the one before can be brought back.
  function change(next, keepView = false) {
    history.push(state);
    state = { ...state, ...next };
    refresh(keepView);
  }

  function back() {
    if (!history.length) return;
    state = history.pop();
    refresh(false);
  }

  function refresh(keepView) {
    regroup();
    state.count = state.count || first();
    choose();
    how.value = state.how;
    amount.value = state.count;
    place.querySelector(".count").textContent = `${shown.length} of ${graph.nodes.length} nodes`;
    place.querySelector('[data-do="back"]').disabled = !history.length;
    if (keepView) repaint();
    else fit();
    describe();
  }

  function describe() {
    const node = selected();
    panel.replaceChildren(...aside.elements({ graph, state }, node, search.value.trim() ? matches() : null));
    said.textContent = aside.spoken(node);
  }

  // --- what the reader does --------------------------------------------------------------------------------------

  function select(key) {
    if (key === state.selected && !state.path.length) return;
    const keep = shown.some((node) => node.key === key);
    change({ selected: key, path: [] }, keep);
    const node = selected();
    if (node && !within(node)) fit();
  }

  function within(node) {
    const [x, y] = spot(node, scene.view);
    return x > LEFT && x < canvas.clientWidth && y > 0 && y < canvas.clientHeight - BOTTOM;
  }

  function expand(node) {
    const hidden = node.in.map((edge) => graph.nodes[edge.source].key).filter((key) => !shown.some((one) => one.key === key));
    change({ revealed: [...state.revealed, ...hidden.slice(0, REVEALED)], path: [] });
  }

  // The strongest path through the selected node, or of all; of a tree, pressed again, the next one.
  function follow() {
    const node = selected();
    if (!data.tree) return change({ path: greedy(raw, (node || graph.order[0]).members[0]) });
    const chains = paths(raw, node && node.members);
    if (!chains.length) return undefined;
    const turn = state.path.length ? (state.turn + 1) % chains.length : 0;
    return change({ path: chains[turn], turn });
  }

  function pin(node) {
    const pinned = state.pinned.includes(node.key) ? state.pinned.filter((key) => key !== node.key) : [...state.pinned, node.key];
    change({ pinned }, true);
  }

  function ungroup(node) {
    change({ groups: state.groups.filter((_, i) => `g${i + 1}` !== node.key), selected: "", path: [] });
  }

  // Pinned nodes become one, named after the largest of them.
  function group() {
    const some = state.pinned.map((key) => graph.byKey.get(key)).filter((node) => node && node.key[0] !== "g");
    if (some.length < 2) return;
    const largest = some.reduce((a, b) => (Math.abs(b.value) > Math.abs(a.value) ? b : a));
    const made = { name: `${largest.label} and ${some.length - 1} more`, members: some.flatMap((node) => node.members) };
    change({ groups: [...state.groups, made], pinned: [], selected: `g${state.groups.length + 1}`, path: [] });
  }

  function collapse(to) {
    change({ how: to, count: 0, selected: "", revealed: [], pinned: [], path: state.path });
  }

  // Up to what a node feeds, down to what feeds it, sideways among the inputs of what it feeds.
  function step(key) {
    const node = selected();
    const [ins, outs] = ["in", "out"].map((end) => (node ? node[end].filter((edge) => Math.abs(edge.value) > 0) : []));
    if (!node) return select(top().key);
    if (key === "ArrowUp") return outs.length && select(graph.nodes[outs[0].target].key);
    if (key === "ArrowDown") return ins.length && select(graph.nodes[ins[0].source].key);
    const beside = outs.length ? graph.nodes[outs[0].target].in.map((edge) => graph.nodes[edge.source]) : shown.filter((one) => !one.out.length);
    const at = beside.indexOf(node) + (key === "ArrowRight" ? 1 : -1);
    return beside[at] && select(beside[at].key);
  }

  const top = () => graph.order.reduce((a, b) => (b.layer > a.layer ? b : a));

  const KEYS = {
    Enter: () => selected() && expand(selected()),
    " ": () => selected() && pin(selected()),
    Backspace: back,
    Escape: back,
    Home: () => select(top().key),
    p: follow,
    g: group,
    f: fit,
    "+": () => zoom(1.25),
    "-": () => zoom(0.8),
    "/": () => search.focus(),
  };
  const DO = { back, fit, path: follow, group, in: () => zoom(1.4), out: () => zoom(1 / 1.4), svg: saveSvg, nodes: saveNodes, edges: saveEdges };

  function pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const act = event.key.startsWith("Arrow") ? () => step(event.key) : KEYS[event.key];
    if (!act) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  }

  function saveSvg() {
    const svg = svgPen(scene.width, scene.height);
    draw(svg, scene);
    saveText(`${place.id}.svg`, "image/svg+xml", new XMLSerializer().serializeToString(svg.root));
  }

  function saveNodes() {
    const rows = raw.nodes.map(({ label, kind, layer, position, value }) => [label, kind, layer, position < 0 ? null : position, data.tokens[position], value]);
    saveText(`${place.id}-nodes.csv`, "text/csv", csv([["node", "kind", "layer", "position", "token", "value"], ...rows]));
  }

  function saveEdges() {
    const rows = raw.edges.map((edge) => [nameOf(raw.nodes[edge.source]), nameOf(raw.nodes[edge.target]), edge.value]);
    saveText(`${place.id}-edges.csv`, "text/csv", csv([["source", "target", "value"], ...rows]));
  }

  // --- the pointer -----------------------------------------------------------------------------------------------

  function under(event) {
    const box = canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    let best = null;
    let nearest = 100;
    for (const node of shown) {
      const [nx, ny] = spot(node, scene.view);
      const far = Math.hypot(nx - x, ny - y) - radius(node, scene);
      if (far < Math.min(nearest, 7)) [best, nearest] = [node, far];
    }
    return x > LEFT && y < canvas.clientHeight - BOTTOM ? best : null;
  }

  canvas.addEventListener("pointerdown", (event) => {
    moved = { x: event.clientX, y: event.clientY, far: 0, view: scene.view };
    if (event.pointerType !== "touch") canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!moved || event.pointerType === "touch") {
      const node = under(event);
      canvas.title = node ? `${nameOf(node)}  ${amountText(node.value)}` : "";
      canvas.style.cursor = node ? "pointer" : "grab";
      return;
    }
    const [dx, dy] = [event.clientX - moved.x, event.clientY - moved.y];
    moved.far = Math.max(moved.far, Math.hypot(dx, dy));
    move({ ...scene.view, x: moved.view.x - dx / scene.view.k, y: moved.view.y - dy / scene.view.k });
  });
  canvas.addEventListener("pointerup", (event) => {
    const node = moved && moved.far < 4 ? under(event) : null;
    const clear = moved && moved.far < 4 && !node && (state.selected || state.path.length);
    moved = null;
    if (node) select(node.key);
    else if (clear) change({ selected: "", path: [] }, true);
  });
  canvas.addEventListener("pointercancel", () => (moved = null));
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const box = canvas.getBoundingClientRect();
    zoom(Math.exp(-event.deltaY / 300), event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });
  canvas.addEventListener("keydown", pressed);
  place.addEventListener("click", (event) => {
    const button = event.target.closest("[data-do]");
    if (button) DO[button.dataset.do]();
  });
  search.addEventListener("input", () => {
    choose();
    repaint();
    describe();
  });
  search.addEventListener("keydown", (event) => {
    const all = matches();
    if (event.key !== "Enter" || !all.length) return;
    event.preventDefault();
    select(all[(all.findIndex((node) => node.key === state.selected) + 1) % all.length].key);
  });
  how.addEventListener("change", () => collapse(how.value));
  amount.addEventListener("change", () => change({ count: +amount.value, revealed: [] }));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  new ResizeObserver(() => canvas.clientWidth && scene && (choose(), fit())).observe(canvas);

  for (const way of ways(raw, groups)) how.append(Object.assign(make("option", "", BY[way]), { value: way }));
  how.closest("label").hidden = how.options.length < 2;
  regroup();
  if (data.tree) state.path = paths(raw, null)[0] || [];
  else state.path = greedy(raw, top().members[0]);
  refresh(false);
}
