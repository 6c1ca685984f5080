"use strict";
// Draws the figures, saves files, copies the command, reads out tokens. Everything it needs is in the page.
(function () {
  const root = document.documentElement;
  const payload = JSON.parse(document.getElementById("interp-data").textContent);
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const config = {
    responsive: true,
    displaylogo: false,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d", "toggleSpikelines"],
  };

  function bytesOf(base64) {
    const text = atob(base64);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    return bytes;
  }

  async function unpacked(base64) {
    const opened = new Blob([bytesOf(base64)]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(opened).arrayBuffer();
  }

  async function loadLibrary() {
    const packed = document.getElementById("plotly-gzip");
    if (packed) {
      const script = document.createElement("script");
      script.textContent = new TextDecoder().decode(await unpacked(packed.textContent));
      packed.remove();
      document.head.append(script);
    }
    if (!window.Plotly) throw new Error("the plotting library plotly.min.js is not there");
  }

  // Swaps the colours of the light theme for their dark partners, in fields that hold colours and nowhere else.
  function recoloured(value, key) {
    if (typeof value === "string") return /color/i.test(key) ? payload.dark[value] || value : value;
    if (Array.isArray(value)) return value.map((item) => recoloured(item, key));
    if (value === null || typeof value !== "object" || "bdata" in value) return value;
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, recoloured(item, /color/i.test(key) ? key : name)]));
  }

  // Labels across need some 13 pixels each; where there are more than fit, every k-th stays.
  function thinned(axis, width) {
    if (!axis || axis.tickmode !== "array") return;
    const step = Math.ceil((axis.tickvals.length * 13) / width);
    for (const name of ["tickvals", "ticktext"]) axis[name] = axis[name].filter((_, i) => i % step === 0);
  }

  // One IEEE 16-bit float: sign, 5 bits of exponent, 10 of fraction.
  function half(bits) {
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    const sign = bits >> 15 ? -1 : 1;
    if (exponent === 31) return NaN;
    return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction);
  }

  function matrix({ halves, scale, width }) {
    const bits = new DataView(bytesOf(halves).buffer);
    const rows = [];
    for (let start = 0; start < bits.byteLength / 2; start += width) {
      rows.push(Float32Array.from({ length: width }, (_, i) => scale * half(bits.getUint16(2 * (start + i), true))));
    }
    return rows;
  }

  function draw(place, dark) {
    // Plotly writes into what it is given, so each drawing starts from a copy.
    const source = structuredClone(payload.figures[place.dataset.fig]);
    const figure = dark ? recoloured(source, "") : source;
    for (const trace of figure.data) if (trace.z && trace.z.halves) trace.z = matrix(trace.z);
    thinned(figure.layout.xaxis, 0.75 * place.clientWidth);
    return Plotly.react(place, figure.data, figure.layout, config);
  }

  // A figure inside a closed fold has no size: it is drawn when the fold is opened.
  async function drawAll() {
    const places = [...document.querySelectorAll("[data-fig]")];
    if (places.length === 0) return;
    await loadLibrary();
    const drawn = new Set();
    const drawOpen = (dark, again) => Promise.all(places.map((place) => {
      if (place.closest("details:not([open])") || (drawn.has(place) && !again)) return null;
      drawn.add(place);
      return draw(place, dark);
    }));
    await drawOpen(prefersDark.matches, true);
    document.addEventListener("toggle", () => drawOpen(prefersDark.matches, false), true);
    prefersDark.addEventListener("change", () => drawOpen(prefersDark.matches, true));
    addEventListener("beforeprint", () => {
      document.querySelectorAll("details.more").forEach((fold) => (fold.open = true));
      drawOpen(false, true);
    });
    addEventListener("afterprint", () => drawOpen(prefersDark.matches, true));
  }

  // A section reached by its link shows all it has.
  function unfold() {
    const section = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    if (section) section.querySelectorAll("details.more").forEach((fold) => (fold.open = true));
  }

  function failed(error) {
    for (const place of document.querySelectorAll("[data-fig]")) {
      if (place.querySelector("svg")) continue;
      const message = document.createElement("p");
      message.textContent = "This figure could not be drawn (" + error.message + "). The table below lists its numbers.";
      place.replaceChildren(message);
    }
    console.error(error);
  }

  async function save(file) {
    const url = URL.createObjectURL(new Blob([await unpacked(file.gzip)], { type: file.mime }));
    const link = Object.assign(document.createElement("a"), { href: url, download: file.name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  }

  async function copy(button) {
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(source);
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 2000);
  }

  // A line of tokens is one stop of the tab key; the arrow keys, Home and End move inside it.
  function tokenLine(line) {
    const tokens = [...line.querySelectorAll(".token")];
    const readout = line.parentElement.querySelector(".readout");
    const read = (token) => token && (readout.textContent = token.firstChild.textContent + "  " + token.title);
    const go = (index) => {
      const next = tokens[Math.max(0, Math.min(tokens.length - 1, index))];
      tokens.forEach((token) => (token.tabIndex = token === next ? 0 : -1));
      next.focus();
    };
    line.addEventListener("mouseover", (event) => read(event.target.closest(".token")));
    line.addEventListener("focusin", (event) => read(event.target.closest(".token")));
    line.addEventListener("keydown", (event) => {
      const at = tokens.indexOf(document.activeElement);
      const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: tokens.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      go(to);
    });
  }

  function followReading() {
    const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
    const watch = new IntersectionObserver(
      (entries) => {
        for (const entry of entries) {
          if (!entry.isIntersecting) continue;
          for (const [id, link] of links) link.toggleAttribute("aria-current", id === entry.target.id);
        }
      },
      { rootMargin: "-15% 0px -75% 0px" },
    );
    document.querySelectorAll("main > section[id]").forEach((section) => watch.observe(section));
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button && button.dataset.download) save(payload.files[button.dataset.download]);
    if (button && button.dataset.copy) copy(button);
  });
  document.querySelectorAll(".tokens").forEach(tokenLine);
  followReading();
  addEventListener("hashchange", unfold);
  unfold();
  const filled = async (packed, drawInto) => {
    for (const [id, content] of Object.entries(packed)) {
      drawInto(document.getElementById(id), JSON.parse(new TextDecoder().decode(await unpacked(content))));
    }
  };
  const decks = filled(payload.decks, (place, data) => drawDeck(place, data));
  const explorers = filled(payload.explorers, (place, data) => drawExplorer(place, data));
  const attentions = filled(payload.attentions, (place, data) => drawAttention(place, data));
  Promise.all([drawAll(), decks, explorers, attentions]).then(
    () => (root.dataset.ready = "1"),
    (error) => {
      failed(error);
      root.dataset.ready = "failed";
    },
  );
})();
