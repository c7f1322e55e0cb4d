"use strict";
(async () => {
  const config = { displayModeBar: false, displaylogo: false, responsive: true, scrollZoom: false, doubleClick: false };
  for (const box of document.querySelectorAll(".chart")) {
    const figure = JSON.parse(document.getElementById(box.id + "-figure").textContent);
    await Plotly.newPlot(box, figure.data, figure.layout, config);
  }
  document.documentElement.dataset.drawn = "yes";
})();
