"use strict";
// The panel of an explorer: the selected node with its edges, a path, or what a search matches.
// `act` holds what its buttons do: select, expand, follow, pin, ungroup. Text only ever becomes text.
function explorerPanel(raw, data, { nameOf, amountText }, act) {
  const LISTED = 8;
  const unit = data.unit ? ` ${data.unit}` : "";
  let graph, state; // as the panel shows them

  // Elements for what is shown: `matched` are the matches of a search, null where none is made.
  function elements(shown, node, matched) {
    ({ graph, state } = shown);
    const parts = matched ? [results(matched)] : state.path.length ? [chain()] : [];
    if (node) parts.push(card(node));
    else if (!parts.length) parts.push(make("p", "hint", "Click a node, or use the arrow keys, to see what feeds it and what it feeds."));
    return parts;
  }

  // The same in a sentence, for those who hear it.
  function spoken(node) {
    if (!node) return state.path.length ? `Strongest path: ${state.path.map((row) => nameOf(raw.nodes[row])).join(", from ")}.` : "";
    const few = (some, end) => some.slice(0, 3).map((edge) => `${nameOf(graph.nodes[edge[end]])} ${amountText(edge.value)}`).join(", ") || "nothing";
    return `${nameOf(node)}, ${amountText(node.value)}. Feeds ${few(node.out, "target")}. Fed by ${few(node.in, "source")}.`;
  }

  function results(matched) {
    const box = make("div", "matches");
    box.append(make("h3", "", `${matched.length} node${matched.length === 1 ? "" : "s"} match`), list(matched.slice(0, LISTED).map((node) => [node, node.value])));
    return box;
  }

  // The path, and its size: of a tree the value of its beginning.
  function chain() {
    const box = make("div", "chain");
    const last = raw.nodes[state.path[state.path.length - 1]];
    const words = data.tree ? `Path ${state.turn + 1} by size: ${amountText(last.value)}` : "Along the strongest edges";
    const items = make("ol");
    for (const row of state.path) items.append(entry(graph.of[row], raw.nodes[row].value));
    box.append(make("h3", "", words), items);
    return box;
  }

  function card(node) {
    const box = make("div", "node");
    box.append(make("h3", "", nameOf(node)), make("p", "amount", amountText(node.value)));
    const sizes = node.members.length > 1 ? `sum of ${node.members.length} nodes` : "";
    const facts = [node.kind, sizes, node.open ? "what feeds it was not resolved" : ""].filter(Boolean).join(" · ");
    box.append(make("p", "facts", facts), actions(node));
    const details = node.members.length === 1 ? data.details[node.members[0]] || [] : [];
    if (details.length) box.append(pairs(details));
    box.append(...side("Feeds", node.out, "target"), ...side("Fed by", node.in, "source"));
    if (data.conserved && node.in.length) box.append(rest(node));
    if (node.members.length === 1) box.append(...strips(data.words, data.examples[node.members[0]] || []));
    return box;
  }

  function rest(node) {
    const sum = node.in.reduce((total, edge) => total + edge.value, 0);
    return make("p", "facts", `Inputs listed sum to ${amountText(sum)}; the rest is ${amountText(node.value - sum)}.`);
  }

  function pairs(given) {
    const facts = make("dl");
    for (const [label, value] of given) {
      facts.append(make("dt", "", label), make("dd", "", typeof value === "string" ? value : written(value, 6)));
    }
    return facts;
  }

  function side(title, edges, end) {
    if (!edges.length) return [];
    const items = list(edges.slice(0, LISTED).map((edge) => [graph.nodes[edge[end]], edge.value, edge]), Math.abs(edges[0].value));
    if (edges.length > LISTED) {
      const more = make("button", "", `All ${edges.length}`);
      more.type = "button";
      more.addEventListener("click", () => items.replaceWith(list(edges.map((edge) => [graph.nodes[edge[end]], edge.value, edge]), Math.abs(edges[0].value))));
      items.append(make("li"));
      items.lastChild.append(more);
    }
    return [make("h3", "", `${title} ${edges.length}`), items];
  }

  function list(rows, most = 0) {
    const items = make("ul");
    rows.forEach(([node, value, edge]) => items.append(entry(node, value, most, edge)));
    return items;
  }

  function entry(node, value, most = 0, edge = null) {
    const item = make("li");
    const button = make("button", "", nameOf(node));
    button.type = "button";
    button.addEventListener("click", () => act.select(node.key));
    item.append(button, make("span", "value", amountText(value).replace(unit, "")));
    if (most) {
      item.className = value < 0 ? "negative" : "positive";
      item.style.setProperty("--share", (Math.abs(value) / (most || 1)).toFixed(3));
    }
    const parts = edge && edge.members.length === 1 && data.parts[edge.members[0]];
    if (parts) item.append(make("span", "parts", parts.map(([label, number]) => `${label} ${written(number, 4)}`).join(" · ")));
    return item;
  }

  function actions(node) {
    const box = make("p", "actions");
    const add = (words, does) => {
      const button = make("button", "", words);
      button.type = "button";
      button.addEventListener("click", does);
      box.append(button);
    };
    if (node.in.length) add("Show inputs", () => act.expand(node));
    add("Strongest path", () => act.follow());
    add(state.pinned.includes(node.key) ? "Unpin" : "Pin", () => act.pin(node));
    if (node.key[0] === "g" && state.how !== "group") add("Ungroup", () => act.ungroup(node));
    return box;
  }

  return { elements, spoken };
}
