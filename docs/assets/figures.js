/* Figures of the notebooks: drawn with the plotting library in the folder of this file, when they come into view. */
(() => {
  const figures = [...document.querySelectorAll(".plotly-figure")];
  if (!figures.length) return;
  const library = document.createElement("script");
  library.src = new URL("plotly.min.js", document.currentScript.src).href;
  library.onload = () => {
    const seen = new IntersectionObserver(entries => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        seen.unobserve(target);
        const { data, layout } = JSON.parse(target.querySelector("script").textContent);
        delete layout.width;
        Plotly.newPlot(target, data, { ...layout, autosize: true }, { responsive: true, displaylogo: false, displayModeBar: false });
      }
    }, { rootMargin: "400px" });
    figures.forEach(figure => seen.observe(figure));
  };
  document.head.append(library);
})();
