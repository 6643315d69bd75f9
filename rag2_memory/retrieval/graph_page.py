"""The page that `graph_export.to_html` fills: markup, style and script in one piece, nothing loaded from anywhere."""

PAGE = r"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{{title}}</title>
<style>
:root { color-scheme: light dark; --ink: light-dark(#1c2430, #e6e9ef); --soft: light-dark(#657083, #9aa4b5); --line: light-dark(#c9d0da, #3a4352);
  --ground: light-dark(#fbfcfd, #14181f); --panel: light-dark(#fff, #1b212b); --mark: light-dark(#b3261e, #ff8a80); }
* { box-sizing: border-box; }
body { margin: 0; height: 100vh; display: grid; grid-template: auto 1fr / 1fr minmax(16rem, 26rem); font: 15px/1.45 system-ui, sans-serif;
  color: var(--ink); background: var(--ground); }
header { grid-column: 1 / -1; display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; align-items: center; padding: .6rem 1rem;
  border-bottom: 1px solid var(--line); background: var(--panel); }
h1 { font-size: 1.05rem; margin: 0; }
label { display: flex; gap: .5rem; align-items: center; color: var(--soft); }
#time { display: none; flex: 1 1 20rem; gap: .6rem; align-items: center; }
#time.shown { display: flex; }
#when { flex: 1; min-width: 8rem; }
output { min-width: 6.5rem; font-variant-numeric: tabular-nums; color: var(--ink); }
svg { width: 100%; height: 100%; min-height: 20rem; touch-action: none; cursor: grab; }
svg text { font: 12px system-ui, sans-serif; fill: var(--ink); paint-order: stroke; stroke: var(--ground); stroke-width: 3px; pointer-events: none; }
svg text.predicate { font-size: 10px; fill: var(--soft); text-anchor: middle; }
svg .node { cursor: pointer; }
svg .node circle { stroke: var(--ground); stroke-width: 2; }
svg .node.chosen circle { stroke: var(--mark); stroke-width: 3; }
svg .edge path { fill: none; stroke: var(--soft); stroke-width: 1.3; }
svg .edge.ended path { stroke-dasharray: 4 3; }
svg .faint { opacity: .18; }
svg .away { display: none; }
aside { overflow: auto; padding: .6rem 1rem 2rem; border-left: 1px solid var(--line); background: var(--panel); }
aside ol { list-style: none; margin: 0; padding: 0; }
aside li { padding: .45rem 0; border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
aside small { display: block; color: var(--soft); }
#legend { display: flex; flex-wrap: wrap; gap: .25rem 1rem; margin: 0 0 .5rem; color: var(--soft); }
#legend i { display: inline-block; width: .7rem; height: .7rem; border-radius: 50%; margin-right: .35rem; }
@media (max-width: 50rem) { body { grid-template: auto 55vh 1fr / 1fr; height: auto; } aside { border-left: 0; } }
</style>
</head>
<body>
<header>
  <h1></h1>
  <label>Find <input id="find" type="search" placeholder="name or predicate"></label>
  <div id="time">
    <label><input id="all" type="checkbox" checked> all times</label>
    <input id="when" type="range" min="0" max="1" step="1" aria-label="Point in time">
    <output for="when"></output>
  </div>
</header>
<svg role="img" aria-label="Graph of the facts that are listed beside it">
  <defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto-start-reverse">
    <path d="M0 0 8 4 0 8z" fill="currentColor" opacity=".55"/></marker></defs>
  <g id="view"><g id="edges"></g><g id="nodes"></g></g>
</svg>
<aside><p id="count" aria-live="polite"></p><div id="legend"></div><ol id="facts"></ol></aside>
<script type="application/json" id="graph">{{graph}}</script>
<script>
"use strict";
const graph = JSON.parse(document.getElementById("graph").textContent);
const $ = (query) => document.querySelector(query);
const SVG = "http://www.w3.org/2000/svg", DAY = 86400000;
const make = (tag, attributes = {}, parent = null, text = null) => {
  const node = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  if (parent) parent.append(node);
  return node;
};
$("h1").textContent = graph.title;

// Nodes by id, edges with their ends; parallel edges bend apart.
const nodes = new Map(graph.nodes.map((node) => [node.id, { ...node, x: 0, y: 0, vx: 0, vy: 0, held: false }]));
const bundles = new Map();
const edges = graph.edges.map((edge) => {
  const [a, b] = [nodes.get(edge.source), nodes.get(edge.target)];
  const pair = [edge.source, edge.target].sort().join(" ");
  const place = bundles.get(pair) || 0;
  bundles.set(pair, place + 1);
  return { ...edge, a, b, pair, place, from: edge.valid_from && Date.parse(edge.valid_from), to: edge.valid_to && Date.parse(edge.valid_to) };
});
const all = [...nodes.values()];
const middle = all.find((node) => node.name === graph.focus) || all.reduce((best, node) => (!best || node.facts > best.facts ? node : best), null);

// Start: rings by distance from the middle, so that the layout begins untangled and is the same every time.
const near = new Map(all.map((node) => [node, new Set()]));
for (const edge of edges) { near.get(edge.a).add(edge.b); near.get(edge.b).add(edge.a); }
const rings = [];
const seen = new Set();
let ring = middle ? [middle] : [];
while (seen.size < all.length) {
  if (!ring.length) ring = all.filter((node) => !seen.has(node));
  ring.forEach((node) => seen.add(node));
  rings.push(ring);
  ring = [...new Set(ring.flatMap((node) => [...near.get(node)]))].filter((node) => !seen.has(node));
}
rings.forEach((members, distance) => members.forEach((node, place) => {
  const radius = members.length === 1 && distance === 0 ? 0 : 110 * Math.max(distance, 1) + members.length * 3;
  const angle = (2 * Math.PI * place) / members.length + distance;
  node.x = radius * Math.cos(angle);
  node.y = radius * Math.sin(angle);
}));

// Layout: nodes push each other away, edges pull, everything drifts to the middle (Fruchterman & Reingold 1991, with cooling).
let heat = 1;
const step = () => {
  const reach = 130;
  for (let i = 0; i < all.length; i++) {
    const one = all[i];
    for (let j = i + 1; j < all.length; j++) {
      const other = all[j];
      let dx = one.x - other.x, dy = one.y - other.y;
      if (!dx && !dy) dx = (i - j) / 100;
      const square = Math.max(dx * dx + dy * dy, 25);
      if (square > 360000) continue;
      const push = (reach * reach) / square / Math.sqrt(square) * 6;
      one.vx += dx * push; one.vy += dy * push; other.vx -= dx * push; other.vy -= dy * push;
    }
    one.vx -= one.x * 0.012; one.vy -= one.y * 0.012;
  }
  for (const { a, b } of edges) {
    if (a === b) continue;
    const dx = b.x - a.x, dy = b.y - a.y, length = Math.hypot(dx, dy) || 1;
    const pull = (length - reach) / length * 0.06 / Math.sqrt(Math.min(near.get(a).size, near.get(b).size));
    a.vx += dx * pull; a.vy += dy * pull; b.vx -= dx * pull; b.vy -= dy * pull;
  }
  for (const node of all) {
    const speed = Math.hypot(node.vx, node.vy), most = 40 * heat;
    if (!node.held) {
      node.x += node.vx * Math.min(1, most / (speed || 1));
      node.y += node.vy * Math.min(1, most / (speed || 1));
    }
    node.vx *= 0.6; node.vy *= 0.6;
  }
  heat *= 0.985;
};

// Drawing.
const types = [...new Set(all.map((node) => node.type))].sort();
const colour = (type) => `hsl(${(types.indexOf(type) * 137 + 210) % 360} 55% 52%)`;
for (const type of types.length > 1 || types[0] ? types : []) {
  const entry = document.createElement("span"), dot = document.createElement("i");
  dot.style.background = colour(type);
  entry.append(dot, type || "no type");
  $("#legend").append(entry);
}
for (const edge of edges) {
  edge.element = make("g", { class: `edge ${edge.to || edge.retracted_at ? "ended" : ""}` }, $("#edges"));
  edge.path = make("path", { "marker-end": "url(#arrow)" }, edge.element);
  edge.label = make("text", { class: "predicate" }, edge.element, edge.relation.toLowerCase().replaceAll("_", " "));
}
for (const node of all) {
  node.radius = 6 + Math.min(10, Math.sqrt(node.facts) * 2);
  node.element = make("g", { class: "node", tabindex: 0, role: "button", "aria-label": node.name }, $("#nodes"));
  make("circle", { r: node.radius, fill: colour(node.type) }, node.element);
  make("text", { x: node.radius + 4, y: 4 }, node.element, node.name.length > 40 ? `${node.name.slice(0, 39)}…` : node.name);
  make("title", {}, node.element, node.type ? `${node.name} (${node.type})` : node.name);
}
const draw = () => {
  for (const node of all) node.element.setAttribute("transform", `translate(${node.x.toFixed(1)} ${node.y.toFixed(1)})`);
  for (const { a, b, path, label, place, pair } of edges) {
    if (a === b) {
      const r = a.radius + 14 + place * 10;
      path.setAttribute("d", `M${a.x - 4} ${a.y - a.radius} C${a.x - r} ${a.y - 2 * r} ${a.x + r} ${a.y - 2 * r} ${a.x + 4} ${a.y - a.radius}`);
      label.setAttribute("x", a.x); label.setAttribute("y", a.y - 1.55 * r);
      continue;
    }
    const dx = b.x - a.x, dy = b.y - a.y, length = Math.hypot(dx, dy) || 1;
    const turn = a.id < b.id ? 1 : -1;
    const bend = (place - (bundles.get(pair) - 1) / 2) * 34 * turn;
    const [cx, cy] = [(a.x + b.x) / 2 - (dy / length) * bend, (a.y + b.y) / 2 + (dx / length) * bend];
    const edgeOf = (node, gap) => { const l = Math.hypot(cx - node.x, cy - node.y) || 1; return [node.x + ((cx - node.x) / l) * (node.radius + gap), node.y + ((cy - node.y) / l) * (node.radius + gap)]; };
    const [from, to] = [edgeOf(a, 1), edgeOf(b, 3)];
    path.setAttribute("d", `M${from} Q${cx} ${cy} ${to}`);
    label.setAttribute("x", (from[0] + 2 * cx + to[0]) / 4); label.setAttribute("y", (from[1] + 2 * cy + to[1]) / 4 - 3);
  }
};

// Looking around: drag the ground to move, the wheel to zoom, a node to place it.
const svg = $("svg");
let [scale, left, top_] = [1, 0, 0];
const look = () => $("#view").setAttribute("transform", `translate(${left} ${top_}) scale(${scale})`);
const fit = () => {
  const box = svg.getBoundingClientRect(), pad = 70;
  const xs = all.map((node) => node.x), ys = all.map((node) => node.y);
  const [x0, x1, y0, y1] = all.length ? [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)] : [0, 0, 0, 0];
  scale = Math.min(1.4, (box.width - 2 * pad) / (x1 - x0 + 60 || 1), (box.height - 2 * pad) / (y1 - y0 || 1));
  left = box.width / 2 - ((x0 + x1 + 60) / 2) * scale;
  top_ = box.height / 2 - ((y0 + y1) / 2) * scale;
  look();
};
let moved = false, drag = null;
svg.addEventListener("pointerdown", (event) => {
  const node = all.find((item) => item.element.contains(event.target));
  drag = { node, x: event.clientX, y: event.clientY };
  svg.setPointerCapture(event.pointerId);
});
svg.addEventListener("pointermove", (event) => {
  if (!drag) return;
  const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
  if (Math.hypot(dx, dy) < 3 && !drag.far) return;
  drag.far = moved = true;
  [drag.x, drag.y] = [event.clientX, event.clientY];
  if (drag.node) { drag.node.held = true; drag.node.x += dx / scale; drag.node.y += dy / scale; draw(); } else { left += dx; top_ += dy; look(); }
});
svg.addEventListener("pointerup", () => { if (drag && !drag.far) choose(drag.node === chosen ? null : drag.node || null); drag = null; });
svg.addEventListener("wheel", (event) => {
  event.preventDefault();
  moved = true;
  const box = svg.getBoundingClientRect(), factor = Math.exp(-event.deltaY / 500);
  left = event.clientX - box.left - (event.clientX - box.left - left) * factor;
  top_ = event.clientY - box.top - (event.clientY - box.top - top_) * factor;
  scale *= factor;
  look();
}, { passive: false });

// Time, search, choice: what is drawn is what is listed.
const bounds = edges.flatMap((edge) => [edge.from, edge.to]).filter(Boolean);
const [first, last] = bounds.length ? [Math.min(...bounds), Math.max(...bounds)] : [0, 0];
const slider = $("#when");
if (bounds.length) {
  $("#time").classList.add("shown");
  slider.max = Math.ceil((last - first) / DAY) + 1;
  slider.value = slider.max;
}
let chosen = null;
const valid = (edge, moment) => moment === null || ((!edge.from || edge.from <= moment) && (!edge.to || edge.to > moment));
const span = (edge) => {
  const day = (text) => (text ? text.slice(0, 10) : "…");
  const window_ = edge.valid_from || edge.valid_to ? `${day(edge.valid_from)} – ${day(edge.valid_to)}` : "";
  return [window_, edge.retracted_at ? `retracted ${day(edge.retracted_at)}` : "", edge.documents.join(", ")].filter(Boolean).join(" · ");
};
const refresh = () => {
  const moment = bounds.length && !$("#all").checked ? first + Number(slider.value) * DAY : null;
  $("output").textContent = moment === null ? "" : new Date(moment).toISOString().slice(0, 10);
  const words = $("#find").value.trim().toLowerCase();
  const list = $("#facts");
  list.replaceChildren();
  const alive = new Set();
  let shown = 0;
  for (const edge of edges) {
    const now = valid(edge, moment);
    const fits = !words || [edge.subject, edge.relation, edge.predicate, edge.object].some((text) => text.toLowerCase().replaceAll("_", " ").includes(words) || text.toLowerCase().includes(words));
    const mine = !chosen || edge.a === chosen || edge.b === chosen;
    edge.element.classList.toggle("away", !now);
    edge.element.classList.toggle("faint", !(fits && mine));
    if (now && fits && mine) {
      alive.add(edge.a).add(edge.b);
      shown += 1;
      const item = document.createElement("li"), note = document.createElement("small");
      item.textContent = `${edge.subject} – ${edge.relation} → ${edge.object}`;
      note.textContent = span(edge);
      item.append(note);
      list.append(item);
    }
  }
  for (const node of all) {
    node.element.classList.toggle("faint", !(alive.has(node) || node === chosen || (words && node.name.toLowerCase().includes(words)) || (!node.facts && !words && !chosen)));
    node.element.classList.toggle("chosen", node === chosen);
  }
  $("#count").textContent = `${shown} of ${edges.length} facts`;
};
const choose = (node) => { chosen = node; refresh(); };
for (const node of all) node.element.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(node === chosen ? null : node); } });
slider.addEventListener("input", () => { $("#all").checked = false; refresh(); });
$("#all").addEventListener("change", refresh);
$("#find").addEventListener("input", refresh);

for (let round = 0; round < 60; round++) step();
refresh();
draw();
fit();
const animate = () => {
  if (heat < 0.02) return;
  step();
  draw();
  if (!moved) fit();
  requestAnimationFrame(animate);
};
requestAnimationFrame(animate);
addEventListener("resize", () => { if (!moved) fit(); });
</script>
</body>
</html>
"""
