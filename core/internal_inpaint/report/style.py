"""The page's style sheet and its few lines of script. The script only moves the slider and switches overlays."""

from __future__ import annotations

STYLE = """
:root { color-scheme: dark; --back: #1d1d1d; --panel: #262626; --edge: #3a3a3a; --text: #d6d6d6; --dim: #9d9d9d;
  --doubt: #f08a2c; --curve: #8ab4d8; --bar: #4b4b4b; --warn: #33291c; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 24px; max-width: 1080px; background: var(--back); color: var(--text);
  font: 15px/1.5 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 22px; margin: 0 0 2px; overflow-wrap: anywhere; } h2 { font-size: 16px; margin: 34px 0 10px; }
p { margin: 6px 0; max-width: 78ch; } .dim { color: var(--dim); }
.path, td, dd, code { overflow-wrap: anywhere; } .path, code { font-family: ui-monospace, Consolas, monospace;
  font-size: 13px; }
dl.headline { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 10px; margin: 18px 0; }
dl.headline div { background: var(--panel); border: 1px solid var(--edge); border-radius: 4px; padding: 10px 12px; }
dl.headline dt { color: var(--dim); font-size: 13px; } dl.headline dd { margin: 0; font-size: 20px; }
ul.warnings { background: var(--warn); border: 1px solid #6b5330; border-radius: 4px; padding: 10px 12px 10px 30px; }
.tools { display: flex; flex-wrap: wrap; gap: 6px 22px; align-items: center; margin: 0 0 8px; }
.tools label { cursor: pointer; } .tools input { vertical-align: -1px; }
.legend { display: inline-flex; gap: 8px; align-items: center; color: var(--dim); font-size: 13px; }
.legend i { width: 120px; height: 10px; border-radius: 2px; display: inline-block; }
figure { margin: 0 0 22px; }
.compare { position: relative; overflow: hidden; background: #000; border: 1px solid var(--edge); --cut: 50%;
  aspect-ratio: var(--shape);  touch-action: pan-y; }
.compare:focus-within { outline: 2px solid var(--curve); outline-offset: 2px; }
.compare img { display: block; position: absolute; inset: 0; width: 100%; height: 100%; }
.compare .plate { clip-path: inset(0 calc(100% - var(--cut)) 0 0); }
.compare .rule { position: absolute; top: 0; bottom: 0; left: var(--cut); width: 2px; margin-left: -1px;
  background: #fff; mix-blend-mode: difference; pointer-events: none; }
.compare input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: ew-resize;
  appearance: none; -webkit-appearance: none; }
.compare input::-webkit-slider-thumb { appearance: none; -webkit-appearance: none; width: 1px; height: 100%; }
.compare input::-moz-range-thumb { width: 1px; height: 100%; border: 0; }
.compare span { position: absolute; top: 8px; padding: 1px 7px; background: #0009; border-radius: 3px;
  font-size: 12px; pointer-events: none; }
.compare .left { left: 8px; } .compare .right { right: 8px; }
.overlay { visibility: hidden; pointer-events: none; }
.show-matte .overlay.matte, .show-confidence .overlay.confidence { visibility: visible; }
figcaption { color: var(--dim); margin-top: 4px; }
svg.chart { display: block; width: 100%; min-width: 620px; height: auto; background: var(--panel);
  border: 1px solid var(--edge); border-radius: 4px; font: 12px system-ui, sans-serif; }
svg text { fill: var(--dim); } svg .x, svg .name { text-anchor: middle; } svg .y { text-anchor: end; }
svg .grid { stroke: var(--edge); fill: none; } svg .curve { fill: none; stroke-width: 1.8; }
svg .thin { stroke-width: 1; }
svg .bar { fill: var(--bar); } svg .low { stroke: var(--doubt); stroke-dasharray: 4 4; fill: none; }
svg circle.doubtful { fill: var(--doubt); } svg circle.fine { fill: var(--panel); stroke: var(--curve);
  stroke-width: 1.6; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: 3px 14px 3px 0;
  border-bottom: 1px solid var(--edge); font-weight: normal; } th { color: var(--dim); white-space: nowrap; }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; } td.share { width: 45%; }
td.share i { display: block; height: 9px; margin-top: 7px; background: #5d7c96; border-radius: 2px; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(320px, 1fr)); gap: 0 34px; }
@media print {
  :root { color-scheme: light; --back: #fff; --panel: #fff; --edge: #bbb; --text: #000; --dim: #444;
    --bar: #ddd; --warn: #fff6e6; }
  body { padding: 0; font-size: 11px; max-width: none; } .compare input, .rule { display: none; }
  .compare { display: grid; grid-template-columns: 1fr 1fr; aspect-ratio: auto; background: none; }
  .compare img { position: static; height: auto; aspect-ratio: var(--shape); }
  .compare .overlay { display: none; }
  .compare .right { right: auto; left: calc(50% + 8px); } .compare span { color: #fff; }
  .compare .plate { order: -1; clip-path: none; } .tools { display: none; } svg.chart { min-width: 0; }
  figure, table, svg.chart, dl.headline { break-inside: avoid; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""

SCRIPT = """
"use strict";
for (const slider of document.querySelectorAll(".compare input")) {
  const move = () => slider.parentElement.style.setProperty("--cut", slider.value + "%");
  slider.addEventListener("input", move);
  move();
}
for (const box of document.querySelectorAll(".tools input")) {
  const pictures = document.getElementById("pictures");
  const show = () => pictures.classList.toggle("show-" + box.value, box.checked);
  box.addEventListener("change", show);
  show();
}
"""
