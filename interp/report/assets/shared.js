"use strict";
// What decks of cards and explorers share: elements from text, numbers in words, strips of tokens.
const STRIP_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function written(value, digits = 3) {
  if (value === null) return "—";
  const size = Math.abs(value);
  const text = size && (size < 1e-3 || size >= 1e6) ? value.toExponential(digits > 3 ? 3 : 1) : String(+value.toPrecision(digits));
  return text.replace(/-/g, "−");
}

function strip(words, [, tokens, digits, limit, focus]) {
  const row = make("p", "strip");
  tokens.forEach((word, i) => {
    const share = digits[i] === "-" ? null : STRIP_DIGITS.indexOf(digits[i]) / 60;
    // In a sentence a blank reads better as a blank; the title has the token as it is.
    const text = words[word].replace(/^·/, " ");
    const token = make("span", `token${share === null ? " undefined" : share > 0 ? " positive" : ""}`, text);
    token.classList.toggle("focus", i === focus);
    token.style.setProperty("--strength", (share || 0).toFixed(3));
    const value = share === null ? "value not stored" : written(+(share * limit).toPrecision(2));
    token.title = `${words[word]}  ${value}`;
    if (i === focus) token.append(make("span", "hidden", ` (${value}) `));
    row.append(token);
  });
  return row;
}

// Strips under one heading for each label.
function strips(words, given) {
  const byLabel = new Map();
  for (const one of given) byLabel.set(one[0], [...(byLabel.get(one[0]) || []), one]);
  return [...byLabel].flatMap(([label, some]) => [make("h3", "", label), ...some.map((one) => strip(words, one))]);
}

// Saves text as a file.
function saveText(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = Object.assign(document.createElement("a"), { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

function csv(rows) {
  const cell = (value) => (typeof value === "string" ? `"${value.replace(/"/g, '""')}"` : String(value ?? ""));
  return rows.map((row) => row.map(cell).join(",") + "\n").join("");
}
