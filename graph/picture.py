"""The picture of a graph: one page of HTML that needs no network, no library and no server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def page(picture: Mapping[str, Any]) -> str:
    """A self-contained page. Names and sentences reach it as data and are shown as text, so none of them is markup."""
    data = (
        json.dumps(picture, ensure_ascii=True).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    )
    return _PAGE.replace("__DATA__", data)


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Knowledge graph</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; --line: #8886; --ink: #222; --ground: #fafafa; }
@media (prefers-color-scheme: dark) { :root { --ink: #ddd; --ground: #181818; } }
body { margin: 0; font: 14px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--ground); display: flex; height: 100vh; }
main { flex: 1; position: relative; min-width: 0; } canvas { width: 100%; height: 100%; display: block; cursor: grab; }
aside { width: 340px; overflow: auto; padding: 12px 16px; border-left: 1px solid var(--line); box-sizing: border-box; }
input { width: 100%; box-sizing: border-box; font: inherit; padding: 6px 8px; } h2 { font-size: 16px; margin: 14px 0 4px; }
blockquote { margin: 2px 0 8px; padding-left: 8px; border-left: 3px solid var(--line); } small { opacity: .7; }
ul { list-style: none; padding: 0; margin: 0; } button { font: inherit; border: 0; background: none; color: inherit; padding: 0; cursor: pointer; text-decoration: underline; text-align: left; }
</style></head><body>
<main><canvas id="canvas" role="img" aria-label="Entities and their relations"></canvas></main>
<aside><input id="find" type="search" placeholder="Find an entity" aria-label="Find an entity" list="names"><datalist id="names"></datalist>
<div id="side"></div></aside>
<script id="data" type="application/json">__DATA__</script>
<script>
"use strict";
const data = JSON.parse(document.getElementById("data").textContent), nodes = data.nodes, edges = data.edges;
const canvas = document.getElementById("canvas"), context = canvas.getContext("2d"), side = document.getElementById("side");
const colours = ["#4e79a7", "#f28e2b", "#59a14f", "#b07aa1", "#e15759", "#76b7b2", "#9c755f", "#bab0ac"];
const types = [...new Set(nodes.map(n => n.type))].sort();
let chosen = -1, zoom = 1, panX = 0, panY = 0, heat = 1, held = null;
const around = nodes.map(() => new Set());
for (const e of edges) { around[e.from].add(e.to); around[e.to].add(e.from); }
nodes.forEach((n, i) => { const a = i * 2.399963, r = 14 * Math.sqrt(i + 1); n.x = r * Math.cos(a); n.y = r * Math.sin(a); n.vx = n.vy = 0; n.r = 3 + Math.min(14, Math.sqrt(n.n)); });
for (const n of nodes) { const o = document.createElement("option"); o.value = n.name; document.getElementById("names").append(o); }
function step() {
  for (let i = 0; i < nodes.length; i++) for (let j = i + 1; j < nodes.length; j++) {
    const a = nodes[i], b = nodes[j], dx = a.x - b.x, dy = a.y - b.y, d2 = dx * dx + dy * dy + 25, f = 900 * heat / d2;
    a.vx += dx * f / 20; a.vy += dy * f / 20; b.vx -= dx * f / 20; b.vy -= dy * f / 20;
  }
  for (const e of edges) {
    const a = nodes[e.from], b = nodes[e.to], dx = b.x - a.x, dy = b.y - a.y, d = Math.hypot(dx, dy) + .1, f = (d - 70) / d * .02 * heat;
    a.vx += dx * f; a.vy += dy * f; b.vx -= dx * f; b.vy -= dy * f;
  }
  for (const n of nodes) { n.vx = (n.vx - n.x * .002 * heat) * .6; n.vy = (n.vy - n.y * .002 * heat) * .6; if (n !== held) { n.x += Math.max(-20, Math.min(20, n.vx)); n.y += Math.max(-20, Math.min(20, n.vy)); } }
  heat *= .985;
}
function draw() {
  const scale = devicePixelRatio || 1, w = canvas.clientWidth, h = canvas.clientHeight;
  if (canvas.width !== w * scale || canvas.height !== h * scale) { canvas.width = w * scale; canvas.height = h * scale; }
  const ink = getComputedStyle(document.body).color;
  context.setTransform(scale, 0, 0, scale, 0, 0); context.clearRect(0, 0, w, h);
  context.translate(w / 2 + panX, h / 2 + panY); context.scale(zoom, zoom); context.lineWidth = 1 / zoom; context.strokeStyle = ink;
  for (const e of edges) { const near = e.from === chosen || e.to === chosen; context.globalAlpha = chosen < 0 ? .15 : near ? .7 : .04;
    context.beginPath(); context.moveTo(nodes[e.from].x, nodes[e.from].y); context.lineTo(nodes[e.to].x, nodes[e.to].y); context.stroke(); }
  nodes.forEach((n, i) => { const lit = chosen < 0 || i === chosen || around[chosen].has(i); context.globalAlpha = lit ? 1 : .15;
    context.fillStyle = colours[types.indexOf(n.type) % colours.length]; context.beginPath(); context.arc(n.x, n.y, n.r, 0, 7); context.fill();
    if (i === chosen || (lit && (n.r * zoom > 9 || chosen >= 0))) { context.fillStyle = ink; context.font = 12 / zoom + "px system-ui"; context.fillText(n.name, n.x + n.r + 2, n.y + 4 / zoom); } });
  context.globalAlpha = 1;
}
function frame() { if (heat > .02) step(); draw(); requestAnimationFrame(frame); }
function add(parent, tag, text) { const one = document.createElement(tag); one.textContent = text; parent.append(one); return one; }
function choose(i) {
  chosen = i; side.replaceChildren();
  if (i < 0) { add(side, "p", nodes.length + " of " + data.n_entities + " entities, those with most relations. Click one; drag to move; wheel to zoom."); return; }
  add(side, "h2", nodes[i].name); if (nodes[i].type) add(side, "small", nodes[i].type);
  for (const e of edges.filter(e => e.from === i || e.to === i).slice(0, 60)) {
    const other = e.from === i ? e.to : e.from, line = add(side, "p", (e.from === i ? "— " : "← ") + (e.label || "…") + " ");
    const link = add(line, "button", nodes[other].name); link.onclick = () => choose(other);
    for (const s of e.said) { const q = add(side, "blockquote", s.text + " "); add(q, "small", s.chunk); }
  }
}
function at(event) { const box = canvas.getBoundingClientRect(); return [(event.clientX - box.left - box.width / 2 - panX) / zoom, (event.clientY - box.top - box.height / 2 - panY) / zoom]; }
function hit(event) { const [x, y] = at(event); let best = -1, near = 1e9; nodes.forEach((n, i) => { const d = Math.hypot(n.x - x, n.y - y) - n.r; if (d < 4 / zoom && d < near) { near = d; best = i; } }); return best; }
let down = null;
canvas.onpointerdown = event => { const i = hit(event); down = { x: event.clientX, y: event.clientY, i, moved: false }; held = i < 0 ? null : nodes[i]; canvas.setPointerCapture(event.pointerId); };
canvas.onpointermove = event => { if (!down) return; const dx = event.clientX - down.x, dy = event.clientY - down.y; if (Math.abs(dx) + Math.abs(dy) > 3) down.moved = true;
  if (held) { [held.x, held.y] = at(event); heat = Math.max(heat, .1); } else { panX += dx; panY += dy; } down.x = event.clientX; down.y = event.clientY; };
canvas.onpointerup = () => { if (down && !down.moved) choose(down.i); down = held = null; };
canvas.onwheel = event => { event.preventDefault(); zoom = Math.max(.1, Math.min(8, zoom * Math.exp(-event.deltaY / 500))); };
document.getElementById("find").oninput = event => { const wanted = event.target.value.toLowerCase(), i = nodes.findIndex(n => n.name.toLowerCase() === wanted); if (i >= 0) { choose(i); panX = -nodes[i].x * zoom; panY = -nodes[i].y * zoom; } };
for (let i = 0; i < 120; i++) step();
choose(-1); frame();
</script></body></html>
"""
