"use strict";
// Draws the shown part of a graph on a canvas, or with the same strokes as SVG. Sizes are in pixels of the screen.
const explorerDrawing = (() => {
  const LEFT = 58;
  const BOTTOM = 34;
  const CURVED = 800;
  const EDGES = 2500;
  const SHAPED = 1500;
  const WIDTHS = 8;
  const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif";

  function colours(place) {
    const style = getComputedStyle(place);
    const names = ["text", "muted", "rule", "edge", "ground", "negative", "positive"];
    return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  }

  function radius(node, { view, largest }) {
    const share = Math.min(1, Math.abs(node.value) / largest);
    return Math.max(2, Math.min(1.2, Math.max(0.35, view.k)) * (2.5 + 9 * Math.sqrt(share)));
  }

  const spot = (node, { x, y, k }) => [LEFT + (node.x - x) * k, (node.y - y) * k];

  function draw(pen, scene) {
    const { width, height, paint } = scene;
    pen.globalAlpha = 1;
    pen.fillStyle = paint.ground;
    pen.fillRect(0, 0, width, height);
    lanes(pen, scene);
    edges(pen, scene);
    const seen = scene.shown.filter((node) => inside(node, scene));
    nodes(pen, scene, seen);
    labels(pen, scene, seen);
    axes(pen, scene);
  }

  // The picture of an earlier view, where the present one has it.
  function drawMoved(pen, scene, { picture, view }) {
    const { width, height, paint } = scene;
    const scale = scene.view.k / view.k;
    pen.globalAlpha = 1;
    pen.fillStyle = paint.ground;
    pen.fillRect(0, 0, width, height);
    const [x, y] = [LEFT + (view.x - scene.view.x) * scene.view.k, (view.y - scene.view.y) * scene.view.k];
    const ratio = picture.width / width;
    const [from, to] = [[LEFT * ratio, 0, picture.width - LEFT * ratio, (height - BOTTOM) * ratio], [x, y, (width - LEFT) * scale, (height - BOTTOM) * scale]];
    pen.drawImage(picture, ...from, ...to);
    axes(pen, scene);
  }

  function inside(node, { view, width, height }) {
    const [x, y] = spot(node, view);
    return x > LEFT - 12 && x < width + 12 && y > -12 && y < height - BOTTOM + 12;
  }

  function lanes(pen, { layout, view, width, height, paint }) {
    pen.strokeStyle = paint.rule;
    pen.lineWidth = 1;
    pen.beginPath();
    for (const column of layout.columns.slice(1)) {
      const x = Math.round(LEFT + (column.start - view.x) * view.k) + 0.5;
      pen.moveTo(x, 0);
      pen.lineTo(x, height - BOTTOM);
    }
    for (const row of layout.rows) {
      const y = Math.round((row.top + row.height - view.y) * view.k) + 0.5;
      pen.moveTo(LEFT, y);
      pen.lineTo(width, y);
    }
    pen.stroke();
  }

  // Edges of one sign and width are one stroke: ten thousand strokes a frame would be too slow.
  function edges(pen, scene) {
    const some = scene.edges.slice(0, EDGES);
    const curved = some.length <= CURVED;
    const far = scene.lit.size > 0;
    const bundles = new Map();
    for (const edge of some) {
      const lit = far && scene.lit.has(edge);
      const step = Math.round(WIDTHS * Math.abs(edge.value) / scene.strongest);
      const key = `${+lit}${edge.value < 0 ? "-" : "+"}${step}`;
      if (!bundles.has(key)) bundles.set(key, []);
      bundles.get(key).push(edge);
    }
    for (const key of [...bundles.keys()].sort()) {
      const step = +key.slice(2);
      pen.strokeStyle = key[1] === "-" ? scene.paint.negative : scene.paint.positive;
      pen.globalAlpha = key[0] === "1" ? 0.95 : far ? 0.22 : 0.2 + 0.4 * (step / WIDTHS);
      pen.lineWidth = Math.max(0.7, (7 * step) / WIDTHS) + (key[0] === "1" ? 0.8 : 0);
      pen.beginPath();
      for (const edge of bundles.get(key)) trace(pen, scene, edge, curved);
      pen.stroke();
    }
    pen.globalAlpha = 1;
  }

  function trace(pen, { view, graph }, edge, curved) {
    const [x0, y0] = spot(graph.nodes[edge.source], view);
    const [x1, y1] = spot(graph.nodes[edge.target], view);
    pen.moveTo(x0, y0);
    if (Math.abs(y1 - y0) < 12 * view.k) {
      const lift = Math.min(80, 14 + Math.abs(x1 - x0) / 3);
      pen.bezierCurveTo(x0, y0 - lift, x1, y1 - lift, x1, y1);
    } else if (curved) {
      const middle = (y0 + y1) / 2;
      pen.bezierCurveTo(x0, middle, x1, middle, x1, y1);
    } else pen.lineTo(x1, y1);
  }

  // Heads are circles, MLPs squares, embeddings and biases triangles, the target a ring; of an open node only the rim.
  function outline(pen, kind, x, y, r) {
    if (kind === "mlp" || kind === "group") {
      pen.rect(x - 0.9 * r, y - 0.9 * r, 1.8 * r, 1.8 * r);
    } else if (kind === "embed" || kind === "bias" || kind === "token") {
      pen.moveTo(x, y - 1.15 * r);
      pen.lineTo(x + 1.1 * r, y + 0.85 * r);
      pen.lineTo(x - 1.1 * r, y + 0.85 * r);
      pen.closePath();
    } else if (kind === "error" || kind === "target") {
      pen.moveTo(x, y - 1.25 * r);
      pen.lineTo(x + 1.25 * r, y);
      pen.lineTo(x, y + 1.25 * r);
      pen.lineTo(x - 1.25 * r, y);
      pen.closePath();
    } else {
      pen.moveTo(x + r, y);
      pen.arc(x, y, r, 0, 7);
    }
  }

  function nodes(pen, scene, seen) {
    const groups = new Map();
    for (const node of seen) {
      const dim = scene.lit.size > 0 && !scene.litNodes.has(node.key);
      const key = `${node.value < 0 ? "-" : "+"}${+node.open}${+dim}`;
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(node);
    }
    for (const [key, some] of groups) {
      const colour = key[0] === "-" ? scene.paint.negative : scene.paint.positive;
      if (some.length > SHAPED) {
        dots(pen, some, scene, colour);
        continue;
      }
      pen.beginPath();
      for (const node of some) outline(pen, node.kind, ...spot(node, scene.view), radius(node, scene));
      pen.globalAlpha = 1;
      pen.fillStyle = scene.paint.ground;
      pen.fill();
      pen.globalAlpha = key[2] === "1" ? 0.6 : 1;
      pen.fillStyle = pen.strokeStyle = colour;
      pen.lineWidth = 1.3;
      if (key[1] === "0") pen.fill();
      pen.stroke();
    }
    pen.globalAlpha = 1;
    for (const [keys, colour, gap] of [[scene.matched, scene.paint.edge, 5], [scene.pinned, scene.paint.text, 3.5]]) {
      rings(pen, scene, seen.filter((node) => keys.has(node.key)), colour, gap, 1.2);
    }
    rings(pen, scene, seen.filter((node) => node.key === scene.selected), scene.paint.text, 3.5, 2.4);
  }

  // Thousands of nodes are too small for shapes.
  function dots(pen, some, scene, colour) {
    pen.globalAlpha = 0.8;
    pen.fillStyle = colour;
    for (const node of some) {
      const [x, y] = spot(node, scene.view);
      const r = radius(node, scene);
      pen.fillRect(x - r, y - r, 2 * r, 2 * r);
    }
  }

  function rings(pen, scene, some, colour, gap, width) {
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.beginPath();
    for (const node of some) outline(pen, node.kind, ...spot(node, scene.view), radius(node, scene) + gap);
    pen.stroke();
  }

  // The largest nodes are labelled first: beneath the node, else beside it; a label that would lie on another one or on
  // one of these nodes is left out.
  function labels(pen, scene, seen) {
    const order = [...seen].sort((a, b) => weight(b, scene) - weight(a, scene)).slice(0, 150);
    const taken = new Set(order.flatMap((node) => cells(...shape(node, scene))));
    pen.font = `11px ${FONT}`;
    pen.textAlign = "center";
    pen.textBaseline = "top";
    for (const node of order) {
      const text = short(node.label, node.kind === "target" ? 30 : 15);
      const half = (text.length * 6.2) / 2;
      const own = new Set(cells(...shape(node, scene)));
      const within = ([x, top]) =>
        x - half > LEFT && x + half < scene.width && top > 0 && top < scene.height - BOTTOM - 10;
      const free = ([x, top]) =>
        within([x, top]) && cells(x - half, top, x + half, top + 11).every((cell) => own.has(cell) || !taken.has(cell));
      const places = placesOf(node, scene, half);
      const [x, top] = places.find(free) || (leading(node, scene) && places.reverse().find(within)) || [];
      if (x === undefined) continue;
      cells(x - half, top, x + half, top + 11).forEach((cell) => taken.add(cell));
      const dim = scene.lit.size > 0 && !scene.litNodes.has(node.key);
      pen.globalAlpha = 0.72;
      pen.fillStyle = scene.paint.ground;
      pen.fillRect(x - half, top, 2 * half, 12);
      pen.globalAlpha = 1;
      pen.fillStyle = dim ? scene.paint.muted : scene.paint.text;
      pen.fillText(text, x, top);
    }
  }

  // The selected node and a path that is followed have labels wherever there is space, even on other nodes.
  const leading = (node, scene) => node.key === scene.selected || (scene.litNodes.size < 12 && scene.litNodes.has(node.key));

  // Where a label may stand, the best first: its middle and its top. What feeds a target stands beneath it.
  function placesOf(node, scene, half) {
    const [x, y] = spot(node, scene.view);
    const r = radius(node, scene);
    const far = half + r + (node.kind === "target" ? 6 : 3);
    const beside = [[x + far, y - 6], [x - far, y - 6]];
    return node.kind === "target" ? [...beside, [x, y - r - 13]] : [[x, y + r + 2], ...beside];
  }

  function shape(node, scene) {
    const [x, y] = spot(node, scene.view);
    const r = 0.7 * radius(node, scene);
    return [x - r, y - r, x + r, y + r];
  }

  // The cells of a grid, of 8 by 6 pixels, that a box lies on.
  function cells(left, top, right, bottom) {
    const result = [];
    for (let column = Math.floor(left / 8); column <= right / 8; column++) {
      for (let line = Math.floor(top / 6); line <= bottom / 6; line++) result.push(column * 4096 + line);
    }
    return result;
  }

  const weight = (node, scene) => Math.abs(node.value) + (scene.litNodes.has(node.key) || scene.matched.has(node.key) ? 1e9 : 0) + (node.key === scene.selected ? 1e12 : 0);
  const short = (text, most) => (text.length > most ? text.slice(0, most - 1) + "…" : text);
  function layerName(layer, output) {
    if (layer === -1) return "input";
    if (layer === output) return "output";
    return `block ${layer}`;
  }

  // Tokens beneath and layers at the left stay in place when the drawing is moved.
  function axes(pen, { layout, view, width, height, paint, tokens, output }) {
    pen.fillStyle = paint.ground;
    pen.fillRect(0, 0, LEFT, height);
    pen.fillRect(0, height - BOTTOM, width, BOTTOM);
    pen.strokeStyle = paint.edge;
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(LEFT, 0);
    pen.lineTo(LEFT, height - BOTTOM);
    pen.lineTo(width, height - BOTTOM);
    pen.stroke();
    pen.fillStyle = paint.muted;
    pen.font = `11px ${FONT}`;
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    let last = Infinity;
    for (const row of layout.rows) {
      const y = (row.top + row.height / 2 - view.y) * view.k;
      if (y < 6 || y > height - BOTTOM - 4 || last - y < 12) continue;
      last = y;
      pen.fillText(layerName(row.value, output), LEFT - 6, y);
    }
    pen.textAlign = "center";
    let until = LEFT;
    for (const column of layout.columns) {
      const x = LEFT + (column.start + column.width / 2 - view.x) * view.k;
      const room = column.width * view.k;
      const text = column.value < 0 ? (layout.columns.length > 1 ? "any" : "") : short(tokens[column.value], Math.max(2, Math.floor(room / 6.6)));
      const half = Math.max(room, 6.6 * text.length) / 2;
      if (x < LEFT || x > width || x - half < until - 1) continue;
      until = x + half;
      pen.fillStyle = paint.text;
      pen.fillText(text, x, height - BOTTOM + 11);
      pen.fillStyle = paint.muted;
      if (column.value >= 0) pen.fillText(String(column.value), x, height - BOTTOM + 26);
    }
  }

  // A pen that writes SVG instead: the few commands of a canvas that the drawing uses.
  function svgPen(width, height) {
    const root = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    for (const [name, value] of Object.entries({ width, height, viewBox: `0 0 ${width} ${height}` })) root.setAttribute(name, value);
    let path = [];
    const say = (letter, ...numbers) => path.push(letter + numbers.map((value) => +value.toFixed(2)).join(" "));
    const add = (tag, given) => {
      const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
      for (const [name, value] of Object.entries(given)) element.setAttribute(name, value);
      root.append(element);
      return element;
    };
    const anchor = { left: "start", center: "middle", right: "end" };
    const shift = { top: "0.9em", middle: "0.35em" };
    return {
      root,
      beginPath: () => (path = []),
      moveTo: (x, y) => say("M", x, y),
      lineTo: (x, y) => say("L", x, y),
      bezierCurveTo: (...all) => say("C", ...all),
      closePath: () => path.push("Z"),
      rect: (x, y, w, h) => path.push(`M${x.toFixed(2)} ${y.toFixed(2)}h${w.toFixed(2)}v${h.toFixed(2)}h${(-w).toFixed(2)}Z`),
      arc: (x, y, r) => path.push(`M${(x + r).toFixed(2)} ${y.toFixed(2)}a${r} ${r} 0 1 0 ${-2 * r} 0a${r} ${r} 0 1 0 ${2 * r} 0Z`),
      fillRect(x, y, w, h) {
        add("rect", { x, y, width: w, height: h, fill: this.fillStyle, "fill-opacity": this.globalAlpha });
      },
      fill() {
        add("path", { d: path.join(""), fill: this.fillStyle, "fill-opacity": this.globalAlpha });
      },
      stroke() {
        add("path", { d: path.join(""), fill: "none", stroke: this.strokeStyle, "stroke-width": this.lineWidth, "stroke-opacity": this.globalAlpha });
      },
      fillText(text, x, y) {
        const given = { x, y, dy: shift[this.textBaseline], fill: this.fillStyle, "font-size": 11, "font-family": FONT, "text-anchor": anchor[this.textAlign] };
        add("text", given).textContent = text;
      },
    };
  }

  return { LEFT, BOTTOM, draw, drawMoved, colours, radius, spot, svgPen };
})();
