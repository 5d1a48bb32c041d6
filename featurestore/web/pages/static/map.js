// The map of a dictionary: a point for each feature, drawn into the pixels of a canvas, so that a million are drawn at once.
const box = document.querySelector(".map");
const canvas = box.querySelector("canvas");
const tip = box.querySelector(".tip");
const form = document.querySelector(".mapbar");
const ramp = document.querySelector(".ramp");
const list = document.querySelector(".lit");
const dictionary = box.dataset.dictionary;
const path = dictionary.split("/").map(encodeURIComponent).join("/");
const STATES = ["live", "always-on", "dead", "unharvested"];
// From dark blue to yellow, as viridis: told apart without colour, too.
const dark = matchMedia("(prefers-color-scheme: dark)").matches;
const ANCHORS = dark
  ? [[98, 96, 190], [64, 130, 190], [45, 175, 165], [120, 210, 110], [253, 231, 37]]
  : [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 180, 80], [225, 190, 20]];
const CATEGORIES = [[45, 160, 150], [215, 120, 30], [150, 150, 150], [110, 110, 190]];
const LIT = "#e8590c"; // not on the ramp, neither in light nor in dark
let points = null;
let colours = null;
let lit = new Map();
let view = { x: 0, y: 0, scale: 1 };
let waiting = false;
let image = null;

function ramped(share) {
  const place = Math.min(0.9999, Math.max(0, share)) * (ANCHORS.length - 1);
  const low = ANCHORS[Math.floor(place)], high = ANCHORS[Math.floor(place) + 1], part = place % 1;
  return low.map((value, n) => Math.round(value + (high[n] - value) * part));
}
const packed = ([r, g, b]) => (255 << 24) | (b << 16) | (g << 8) | r;
const TABLE = Int32Array.from({ length: 256 }, (_, n) => packed(ramped(n / 255)));
const strip = ramp.querySelector("canvas").getContext("2d");
for (let n = 0; n < 128; n++) { strip.fillStyle = `rgb(${ramped(n / 127)})`; strip.fillRect(n, 0, 1, 1); }

async function load(column) {
  const answer = await fetch(`/map/${path}/data${column ? `?column=${encodeURIComponent(column)}` : ""}`);
  if (!answer.ok) throw new Error(`the map could not be read (${answer.status}): load the page again`);
  const bytes = await answer.arrayBuffer();
  const count = new DataView(bytes).getUint32(0, true);
  if (column) return new Float32Array(bytes, 4, count);
  const feature = new Uint32Array(bytes, 4, count);
  return { count, feature, x: new Float32Array(bytes, 4 + 4 * count, count), y: new Float32Array(bytes, 4 + 8 * count, count) };
}

async function colour(column) {
  const values = await load(column);
  colours = new Int32Array(points.count);
  const text = (value) => (value === 0 ? "0" : Math.abs(value) >= 0.01 && Math.abs(value) < 1e5 ? String(+value.toPrecision(3)) : value.toExponential(1));
  if (column === "state") {
    for (let n = 0; n < points.count; n++) colours[n] = packed(CATEGORIES[values[n]] || CATEGORIES[3]);
    ramp.hidden = false;
    ramp.querySelector("canvas").hidden = true;
    ramp.querySelector(".low").textContent = "teal live, orange always-on, grey dead";
    ramp.querySelector(".high").textContent = "";
    return draw();
  }
  const known = values.filter((value) => !Number.isNaN(value)).sort();
  // Quantiles, since most columns have a few very large values.
  const low = known[0] ?? 0, high = known[known.length - 1] ?? 0;
  const edges = Float32Array.from({ length: 255 }, (_, n) => known[Math.floor(((n + 1) / 256) * known.length)] ?? 0);
  for (let n = 0; n < points.count; n++) {
    const value = values[n];
    if (Number.isNaN(value)) { colours[n] = packed([150, 150, 150]); continue; }
    let first = 0, last = 255;
    while (first < last) { const middle = (first + last) >> 1; if (edges[middle] < value) first = middle + 1; else last = middle; }
    colours[n] = TABLE[first];
  }
  ramp.querySelector("canvas").hidden = false;
  ramp.querySelector(".low").textContent = text(low);
  ramp.querySelector(".high").textContent = `${text(high)} (by rank)`;
  draw();
}

function fit() {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(canvas.clientWidth * ratio));
  canvas.height = Math.max(1, Math.round(canvas.clientHeight * ratio));
}
const unit = () => (Math.min(canvas.width, canvas.height) / 2) * 0.96 * view.scale;
const toX = (x) => (x - view.x) * unit() + canvas.width / 2;
const toY = (y) => (y - view.y) * unit() + canvas.height / 2;

function draw() {
  if (waiting || !points) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; paint(); });
}

function paint() {
  const context = canvas.getContext("2d");
  const width = canvas.width, height = canvas.height;
  // Memory for a picture is taken once for each size of the canvas, not in every frame.
  if (image?.width !== width || image.height !== height) image = context.createImageData(width, height);
  const pixels = new Int32Array(image.data.buffer).fill(0);
  const k = unit(), cx = width / 2 - view.x * k, cy = height / 2 - view.y * k;
  const inside = Math.max(1, points.count / (view.scale * view.scale));
  const size = Math.max(1, Math.min(9, Math.round(Math.sqrt((width * height) / inside) / 4)));
  const faded = lit.size ? 0x80000000 | 0 : 0xff000000 | 0;
  const { x, y, count } = points;
  for (let n = 0; n < count; n++) {
    const left = (x[n] * k + cx - size / 2) | 0, top = (y[n] * k + cy - size / 2) | 0;
    if (left < 0 || top < 0 || left + size > width || top + size > height) continue;
    const value = (colours ? colours[n] & 0xffffff : 0x888888) | faded;
    const first = top * width + left;
    if (size === 1) { pixels[first] = value; continue; }
    for (let row = first, last = first + size * width; row < last; row += width)
      for (let place = row; place < row + size; place++) pixels[place] = value;
  }
  context.putImageData(image, 0, 0);
  const style = getComputedStyle(document.documentElement);
  context.lineWidth = 2 * (window.devicePixelRatio || 1);
  for (const index of lit.keys()) {
    const n = points.places.get(index);
    if (n === undefined) continue;
    context.beginPath();
    context.arc(toX(x[n]), toY(y[n]), Math.max(5, size) * (window.devicePixelRatio || 1), 0, 7);
    context.fillStyle = LIT;
    context.strokeStyle = style.getPropertyValue("--card");
    context.fill();
    context.stroke();
  }
}

function nearest(event) {
  const bounds = canvas.getBoundingClientRect(), ratio = canvas.width / bounds.width;
  const px = (event.clientX - bounds.left) * ratio, py = (event.clientY - bounds.top) * ratio;
  const at = (n) => (toX(points.x[n]) - px) ** 2 + (toY(points.y[n]) - py) ** 2;
  let best = -1, distance = (12 * ratio) ** 2;
  for (const index of lit.keys()) {
    const n = points.places.get(index);
    if (n !== undefined && at(n) < distance) { best = n; distance = at(n); }
  }
  if (best >= 0) return best;
  const k = unit(), cx = canvas.width / 2 - view.x * k, cy = canvas.height / 2 - view.y * k;
  for (let n = 0; n < points.count; n++) {
    const d = (points.x[n] * k + cx - px) ** 2 + (points.y[n] * k + cy - py) ** 2;
    if (d < distance) { distance = d; best = n; }
  }
  return best;
}

const labels = new Map();
let asked = 0;
async function describe(n) {
  const index = points.feature[n], id = `${dictionary}/${index}`;
  tip.textContent = labels.has(index) ? `${index}: ${labels.get(index)}` : `${index}`;
  if (labels.has(index)) return;
  const number = ++asked;
  await new Promise((done) => setTimeout(done, 120));
  if (number !== asked) return;
  const answer = await fetch(`/v1/labels/${id.split("/").map(encodeURIComponent).join("/")}`);
  if (!answer.ok) return;
  const found = (await answer.json()).labels;
  labels.set(index, found.length ? found[0].label : "no label");
  if (number === asked) tip.textContent = `${index}: ${labels.get(index)}`;
}

function zoom(factor, event) {
  const bounds = canvas.getBoundingClientRect(), ratio = canvas.width / bounds.width;
  const px = event ? (event.clientX - bounds.left) * ratio : canvas.width / 2;
  const py = event ? (event.clientY - bounds.top) * ratio : canvas.height / 2;
  const before = unit();
  view.scale = Math.min(4000, Math.max(0.5, view.scale * factor));
  const after = unit();
  view.x += (px - canvas.width / 2) * (1 / before - 1 / after);
  view.y += (py - canvas.height / 2) * (1 / before - 1 / after);
  draw();
}

async function light(text) {
  lit = new Map();
  list.replaceChildren();
  list.hidden = true;
  if (text.trim()) {
    const answer = await fetch(`/v1/search?${new URLSearchParams({ text, within: dictionary, k: "100", group: "false" })}`);
    const found = await answer.json();
    if (!answer.ok) { tip.textContent = found.detail || "the search failed"; return draw(); }
    const good = found.hits.filter((hit) => !hit.weak);
    if (good.length) found.hits = good;
    for (const hit of found.hits) lit.set(Number(hit.id.split("/").pop()), hit);
    for (const hit of found.hits.slice(0, 20)) {
      const item = document.createElement("li"), link = document.createElement("a");
      link.className = "label";
      link.href = `/features/${hit.id.split("/").map(encodeURIComponent).join("/")}`;
      link.textContent = hit.label || "no label";
      item.append(link);
      list.append(item);
    }
    list.hidden = !found.hits.length;
    tip.textContent = `${lit.size} features are lit${found.weak ? ", none of them a good match" : ""}`;
  }
  draw();
}

const pointers = new Map();
let moved = 0;
canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); pointers.set(event.pointerId, event); moved = 0; });
canvas.addEventListener("pointermove", (event) => {
  const before = pointers.get(event.pointerId);
  if (!points) return;
  if (!before) { const n = nearest(event); if (n >= 0) describe(n); return; }
  if (pointers.size === 2) {
    const other = [...pointers.entries()].find(([id]) => id !== event.pointerId)[1];
    const length = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
    zoom(length(event) / Math.max(1, length(before)), event);
  } else {
    const ratio = canvas.width / canvas.getBoundingClientRect().width;
    const dx = event.clientX - before.clientX, dy = event.clientY - before.clientY;
    moved += Math.abs(dx) + Math.abs(dy);
    view.x -= (dx * ratio) / unit();
    view.y -= (dy * ratio) / unit();
    draw();
  }
  pointers.set(event.pointerId, event);
});
for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => pointers.delete(event.pointerId));
canvas.addEventListener("click", (event) => {
  const n = points && moved < 5 ? nearest(event) : -1;
  if (n >= 0) location.href = `/features/${path}/${points.feature[n]}`;
});
canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoom(Math.exp(-event.deltaY / 400), event); }, { passive: false });
canvas.addEventListener("keydown", (event) => {
  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  if (event.key === "+" || event.key === "=") zoom(1.4);
  else if (event.key === "-") zoom(1 / 1.4);
  else if (steps[event.key]) { view.x += steps[event.key][0] * 0.1 / view.scale; view.y += steps[event.key][1] * 0.1 / view.scale; draw(); }
  else return;
  event.preventDefault();
  event.stopPropagation();
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  history.replaceState(null, "", `?${new URLSearchParams(new FormData(form))}`);
  light(form.elements.text.value);
});
form.elements.column.addEventListener("change", () => {
  history.replaceState(null, "", `?${new URLSearchParams(new FormData(form))}`);
  colour(form.elements.column.value).catch((error) => { tip.textContent = error.message; });
});
new ResizeObserver(() => { fit(); draw(); }).observe(box);

(async () => {
  points = await load();
  points.places = new Map();
  points.feature.forEach((feature, n) => points.places.set(feature, n));
  fit();
  draw();
  tip.textContent = "Point at a feature";
  await colour(form.elements.column.value);
  if (form.elements.text.value) await light(form.elements.text.value);
  box.dataset.ready = "true";
})().catch((error) => { tip.textContent = error.message; });
