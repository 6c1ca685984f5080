"use strict";
// Draws a deck of cards: search, order, pages; a card's contents when it is opened. Text only ever becomes text.
function drawDeck(place, deck) {
  const PER_PAGE = 12;
  const [input, select, counted, list] = ["input", "select", ".counted", "ol"].map((what) => place.querySelector(what));
  const turns = [...place.querySelectorAll("[data-turn]")];
  const number = new Map(deck.cards.map((card, i) => [card[0], i]));
  const haystacks = deck.cards.map(haystack);
  const full = deck.cards.filter((card) => card.length > 3).length;
  const said = full < deck.cards.length ? `, ${full} of them with contents on this page` : "";
  const state = { shown: [...deck.cards.keys()], page: 0 };

  // What is searched, the most telling first: name and title, the tokens that examples are about, the first ranking.
  function haystack(card) {
    const [name, words, , , examples = [], rankings = []] = card;
    const texts = (some) => some.map((i) => deck.words[i].toLowerCase());
    const focused = texts(examples.map((one) => one[1][one[4]]));
    return [[name.toLowerCase(), ...texts(words)], focused, texts(rankings.length ? rankings[0][1] : [])];
  }

  // How well a card matches: whole tokens before parts, titles before examples before rankings; 0 where it does not.
  function match(i, wanted) {
    const bare = wanted.replace(/^·/, "");
    let best = deck.cards[i][0].split(" ").pop() === wanted ? 100 : 0;
    haystacks[i].forEach((texts, level) => {
      const count = texts.filter((text) => text === wanted || text.replace(/^·/, "") === bare).length;
      const whole = count && (wanted[0] !== "·" || texts.includes(wanted)) ? 60 - 20 * level + Math.min(count, 9) : 0;
      best = Math.max(best, whole, texts.some((text) => text.includes(wanted)) ? 3 - level : 0);
    });
    return best;
  }

  function choose() {
    const wanted = input.value.toLowerCase().replace(/ /g, "·");
    const exact = /^\d+$/.test(wanted);
    const all = [...deck.cards.keys()];
    state.shown = exact ? all.filter((i) => deck.cards[i][0].split(" ").pop() === wanted) : [];
    if (!state.shown.length) state.shown = wanted ? best(all, wanted) : all;
    const column = select.selectedIndex - 1;
    const value = (i) => deck.cards[i][2][column] ?? -Infinity;
    if (column >= 0) state.shown.sort((a, b) => value(b) - value(a) || a - b);
    state.page = 0;
    show();
  }

  function best(all, wanted) {
    const scores = all.map((i) => match(i, wanted));
    return all.filter((i) => scores[i]).sort((a, b) => scores[b] - scores[a] || a - b);
  }

  function show() {
    const pages = Math.max(1, Math.ceil(state.shown.length / PER_PAGE));
    const from = state.page * PER_PAGE;
    const part = state.shown.slice(from, from + PER_PAGE);
    const of = state.shown.length === deck.cards.length ? said : ` of ${deck.cards.length}`;
    counted.textContent = part.length
      ? `${state.shown.length} ${deck.what}${of}; shown: ${from + 1} to ${from + part.length} on page ${state.page + 1} of ${pages}`
      : `No ${deck.what} match.`;
    turns.forEach((button) => (button.disabled = state.page + +button.dataset.turn < 0 || state.page + +button.dataset.turn >= pages));
    list.start = from + 1;
    list.replaceChildren(...part.map(item));
  }

  function item(i) {
    const card = deck.cards[i];
    const details = make("details", "card");
    const summary = make("summary");
    const facts = make("span", "facts");
    deck.columns.forEach((name, c) => facts.append(c ? " · " : "", make("span", "", fact(name, card[2][c]))));
    summary.append(make("span", "name", card[0]), ...card[1].map((w) => make("span", "token", deck.words[w])));
    summary.append(facts);
    const examples = card[4] || [];
    if (examples.length) summary.append(preview(examples[0]));
    details.append(summary);
    details.addEventListener("toggle", () => details.open && details.children.length === 1 && details.append(body(card)));
    const entry = make("li");
    entry.append(details);
    return entry;
  }

  // "fires %" is written with its unit behind the number: "fires 4.9 %".
  function fact(name, value) {
    return name.endsWith(" %") ? `${name.slice(0, -2)} ${written(value)} %` : `${name} ${written(value)}`;
  }

  // The strongest example in one line, until the card is opened.
  function preview(example) {
    const row = make("span", "strip preview");
    row.append(...strip(deck.words, example).children);
    row.querySelectorAll(".hidden").forEach((value) => value.remove());
    return row;
  }

  function body(card) {
    const [, , , notes = [], examples = [], rankings = [], links = [], histogram = 0] = card;
    const box = make("div", "inside");
    box.append(...notes.map((note) => make("p", "said", note)));
    if (card.length < 4) box.append(make("p", "said", deck.elsewhere));
    const aside = make("div", "beside");
    if (histogram) aside.append(bars(...histogram));
    aside.append(...rankings.map((ranking) => ranked(...ranking)), ...links.map((link) => linked(...link)));
    box.append(...strips(deck.words, examples));
    if (aside.children.length) box.append(aside);
    return box;
  }

  function ranked(label, tokens, values) {
    const box = make("div", "ranking");
    const items = make("ul");
    tokens.forEach((word, i) => {
      const entry = make("li");
      const value = (values[i] > 0 ? "+" : "") + written(values[i]);
      entry.append(make("span", "token", deck.words[word]), make("span", "value", value));
      items.append(entry);
    });
    box.append(make("h3", "", label), items);
    return box;
  }

  function linked(label, pairs) {
    const box = make("div", "ranking");
    const items = make("ul");
    for (const [name, text] of pairs) {
      const entry = make("li");
      const button = make("button", "", name);
      button.type = "button";
      button.addEventListener("click", () => go(name));
      entry.append(number.has(name) ? button : make("span", "", name), make("span", "value", text));
      items.append(entry);
    }
    box.append(make("h3", "", label), items);
    return box;
  }

  function bars(label, edges, counts) {
    const box = make("div", "ranking");
    const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const most = Math.max(...counts, 1);
    drawing.setAttribute("viewBox", `0 0 ${counts.length} 10`);
    drawing.setAttribute("preserveAspectRatio", "none");
    drawing.setAttribute("role", "img");
    const ends = `from ${written(edges[0])} to ${written(edges[edges.length - 1])}`;
    drawing.setAttribute("aria-label", `${label}: ${counts.join(", ")} ${ends}`);
    counts.forEach((count, i) => {
      const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      const at = { x: i + 0.06, y: 10 - (10 * count) / most, width: 0.88, height: (10 * count) / most };
      for (const [name, value] of Object.entries(at)) bar.setAttribute(name, value);
      drawing.append(bar);
    });
    const scale = make("p", "ends");
    scale.append(make("span", "", written(edges[0])), make("span", "", written(edges[edges.length - 1])));
    box.append(make("h3", "", label), drawing, scale);
    return box;
  }

  // Shows one card by its name, opened, wherever the search and the order have put it.
  function go(name) {
    if (!state.shown.includes(number.get(name))) {
      input.value = "";
      choose();
    }
    const at = state.shown.indexOf(number.get(name));
    state.page = Math.floor(at / PER_PAGE);
    show();
    const details = list.children[at % PER_PAGE].firstChild;
    details.open = true;
    details.firstChild.focus();
    details.scrollIntoView({ block: "center" });
  }

  for (const name of [deck.order, ...deck.columns]) select.append(make("option", "", name));
  input.addEventListener("input", () => {
    choose();
    // The results stand in view, not below the window's edge.
    if (list.getBoundingClientRect().top > 0.6 * innerHeight) place.scrollIntoView();
  });
  select.addEventListener("change", choose);
  turns.forEach((button) =>
    button.addEventListener("click", () => {
      state.page += +button.dataset.turn;
      show();
      place.scrollIntoView();
    }),
  );
  // "/" goes to the search, Enter from there to the first card, the arrow keys from card to card.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.target.closest("input, textarea, select")) return;
    event.preventDefault();
    input.focus();
  });
  place.addEventListener("keydown", (event) => {
    const titles = [...list.querySelectorAll("summary")];
    const at = titles.indexOf(document.activeElement);
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Enter" && event.target === input && titles.length) {
      event.preventDefault();
      titles[0].focus();
    }
    if (!step || at < 0 || !titles[at + step]) return;
    event.preventDefault();
    titles[at + step].focus();
  });
  show();
}
