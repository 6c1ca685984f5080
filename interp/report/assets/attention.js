"use strict";
// A viewer of attention: the reader chooses heads, a text and the token they look from. Text only ever becomes text.
function drawAttention(place, data) {
  const CHIPS = 16;
  const LONG = 48;
  const SMALL = 10;
  const [chooser, lines, readout] = [".heads", ".lines", ".readout"].map((what) => place.querySelector(what));
  const [texts, what, only] = ["text", "what", "only"].map((ask) => place.querySelector(`[data-ask="${ask}"]`));
  const names = [...new Set(data.texts.flatMap((text) => text.heads.map((head) => head.name)))];
  const chosen = new Set(names.slice(0, data.first));
  const taken = data.texts.some((text) => text.heads.some((head) => head.taken.length));
  let text = data.texts[0];
  let query = text.position;

  const percent = (thousandths) => `${(thousandths / 10).toFixed(1)} %`;
  const whole = () => text.heads.some((head) => head.rows.length > 1);

  // The head's numbers as the reader wants them: [value between -1 and 1 for the colour, words] for each token.
  function values(head) {
    if (what.value === "taken" && query === text.position) {
      const most = Math.max(...head.taken.map(Math.abs)) || 1;
      return head.taken.map((value) => [value / most, `takes ${value > 0 ? "+" : ""}${written(value)} ${data.unit}`]);
    }
    const row = head.rows.length > 1 ? head.rows[query] : query === text.position ? head.rows[0] : [];
    return text.tokens.map((_, i) => [(row[i] || 0) / 1000, row.length ? percent(row[i] || 0) : "not known"]);
  }

  function line(head) {
    const box = make("div", "head");
    const strip = make("div", "tokens");
    const shown = values(head);
    strip.setAttribute("role", "group");
    strip.setAttribute("aria-label", `${head.name} from ${text.tokens[query]} at ${query}`);
    let skipped = 0;
    text.tokens.forEach((token, i) => {
      const [share, words] = shown[i] || [0, ""];
      const near = [i - 1, i, i + 1].some((at) => shown[at] && Math.abs(shown[at][0]) * 1000 >= SMALL);
      if (only.checked && !near && i !== query) return (skipped += 1);
      if (skipped) strip.append(make("span", "gap", `… ${skipped} …`));
      skipped = 0;
      strip.append(tokenOf(token, i, share, words, head));
      return 0;
    });
    if (skipped) strip.append(make("span", "gap", `… ${skipped} …`));
    const first = strip.querySelector(".token");
    if (first) first.tabIndex = 0;
    box.append(make("p", "name", head.name), strip);
    if (head.note) box.firstChild.append(make("span", "note", ` ${head.note}`));
    return box;
  }

  function tokenOf(token, i, share, words, head) {
    const element = make("span", `token ${share < 0 ? "negative" : "positive"}${i === query ? " query" : ""}`, token);
    element.style.setProperty("--strength", Math.abs(share).toFixed(3));
    element.tabIndex = -1;
    element.title = `position ${i}: ${words}`;
    element.dataset.at = i;
    element.dataset.says = `${head.name} from ${text.tokens[query]} (${query}) to ${token} (${i}): ${words}`;
    return element;
  }

  function show() {
    const heads = names.filter((name) => chosen.has(name)).map((name) => text.heads.find((head) => head.name === name)).filter(Boolean);
    lines.replaceChildren(...heads.map(line));
    what.disabled = query !== text.position;
    readout.textContent = heads.length
      ? `From ${text.tokens[query]} at position ${query}.${whole() ? " Click a token, or press Enter on it, to look from there." : ""}`
      : "Choose a head.";
    chooser.querySelectorAll("button").forEach((button) => button.setAttribute("aria-pressed", chosen.has(button.textContent)));
  }

  function toggle(name) {
    if (!chosen.delete(name)) chosen.add(name);
    show();
  }

  function choosers() {
    if (names.length > CHIPS) {
      const select = make("select");
      select.append(...["Add or remove a head", ...names].map((name) => make("option", "", name)));
      select.setAttribute("aria-label", "Add or remove a head");
      select.addEventListener("change", () => {
        if (select.selectedIndex) toggle(select.value);
        select.selectedIndex = 0;
      });
      return chooser.append(select);
    }
    return names.forEach((name) => {
      const button = make("button", "", name);
      button.type = "button";
      button.addEventListener("click", () => toggle(name));
      chooser.append(button);
    });
  }

  // The same token of every line is one query; the focus stays on it.
  function look(token) {
    if (!whole()) return;
    const row = [...lines.children].findIndex((box) => box.contains(token));
    query = +token.dataset.at;
    show();
    const again = lines.children[row] && lines.children[row].querySelector(`[data-at="${query}"]`);
    if (again) again.focus();
  }

  const read = (event) => {
    const token = event.target.closest(".token");
    if (token) readout.textContent = token.dataset.says;
  };
  lines.addEventListener("mouseover", read);
  lines.addEventListener("focusin", read);
  lines.addEventListener("click", (event) => event.target.closest(".token") && look(event.target.closest(".token")));
  lines.addEventListener("keydown", (event) => {
    const token = event.target.closest(".token");
    if (!token) return;
    const along = [...token.parentElement.querySelectorAll(".token")];
    const at = along.indexOf(token);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: along.length - 1 }[event.key];
    if (event.key === "Enter") look(token);
    if (to === undefined) return;
    event.preventDefault();
    const next = along[Math.max(0, Math.min(along.length - 1, to))];
    along.forEach((one) => (one.tabIndex = one === next ? 0 : -1));
    next.focus();
  });
  texts.append(...data.texts.map((one, i) => Object.assign(make("option", "", one.title || `text ${i + 1}`), { value: i })));
  texts.closest("label").hidden = data.texts.length < 2;
  what.closest("label").hidden = !taken;
  texts.addEventListener("change", () => {
    text = data.texts[+texts.value];
    query = text.position;
    show();
  });
  what.addEventListener("change", show);
  only.addEventListener("change", show);
  only.checked = Math.max(...data.texts.map((one) => one.tokens.length)) > LONG;
  choosers();
  show();
}
