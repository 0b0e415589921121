// The picture in the browser: a view (plain values, see payload.py) becomes elements and canvases. No dependency, no build
// step. In a notebook Python answers what is asked of `host`; on a page of its own there is no host, and nothing is asked.
// Whatever came from outside enters as text nodes. `mount` draws, `update` draws again what a changed section touches.

const SECTIONS = ["state", "controls", "strip", "pair", "compare", "failures", "what_if", "notes", "busy", "error"];
const SIDES = ["query", "gallery"];
const STATUS = { // glyph and words; line style and colour stand in the style sheet
  right: ["✓", "same person"],
  wrong: ["✗", "another person"],
  junk: ["–", "junk, not counted"],
  distractor: ["○", "distractor"],
  "same camera": ["=", "same person and camera, not counted"],
  unknown: ["?", "nobody knows who this is"],
};
const COLOURS = { // evenly spaced stops
  inferno: "000004 160b39 420a68 6a176e 932667 bc3754 dd513a f37819 fca50a f6d746 fcffa4",
  cividis: "00224e 083370 35456c 4f576c 666970 7d7c78 948e77 aea371 c8b866 e5cf52 fee838",
  viridis: "440154 482475 414487 355f8d 2a788e 21918c 22a884 44bf70 7ad151 bddf26 fde725",
  grey: "000000 ffffff",
  signed: "053061 2065ab 4393c3 90c4dd d1e5f0 f7f6f6 fddbc7 f3a481 d6604d b1182b 67001f",
};
const LOOK = { // fields that the browser changes alone -> what is drawn again
  opacity: ["maps"], threshold: ["maps", "rows"], colours: ["maps", "bar"], scale: ["maps", "bar"], contour: ["maps"],
  correspondence: ["maps", "lines", "status"], theme: ["theme"], projector: ["theme"],
};
const DEFAULTS = { tab: "pair", opacity: 0.55, threshold: 0.5, colours: "inferno", scale: "own", contour: true,
  correspondence: true, theme: "auto", projector: false, rectangle: null };
const KEYS = [
  ["← →", "previous, next picture of the strip"],
  ["Page up, Page down", "other page of the strip"],
  ["↑ ↓, Shift ← →", "on a picture: move the cell, and see its partners"],
  ["R, arrows, Enter", "on a picture: draw a rectangle from the cell, and ask about it"],
  ["Enter", "open what has the focus"],
  ["Escape", "take the rectangle and the cell away"],
  ["?", "this list"],
];
const LINES = 12, FINE = 8, WAIT = 150, KEPT = 96; // lines drawn; steps within a cell; ms until Python is told; images

// ---- small things ----

const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
const clean = (text) => String(text ?? "").replace(/[\u0000-\u0008\u000b-\u001f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "□");
const percent = (share) => `${(100 * share).toFixed(Math.abs(share) < 0.1 ? 2 : 1)} %`;
const filled = (section) => section && Object.keys(section).length > 0;
const glyph = (status) => (STATUS[status] ?? ["", ""])[0];
const words = (status) => (STATUS[status] ?? ["", status])[1];

/** An element; `on...` are listeners, `data` its data attributes, the rest attributes; children are nodes or text. */
function make(tag, given = {}, ...children) {
  const el = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (name === "data") for (const [key, text] of Object.entries(value)) el.dataset[key] = clean(text);
    else if (name.startsWith("on")) el.addEventListener(name.slice(2), value);
    else if (value === true) el.setAttribute(name, "");
    else if (value !== false && value != null) el.setAttribute(name, clean(value));
  }
  el.append(...children.flat(Infinity).filter((child) => child != null && child !== "").map((c) => (c instanceof Node ? c : clean(c))));
  return el;
}

const images = new Map(); // src -> picture, the last few
function image(src) {
  if (!images.has(src)) {
    const found = new Image();
    found.src = src;
    images.set(src, found);
    if (images.size > KEPT) images.delete(images.keys().next().value);
  }
  return images.get(src);
}
const ready = (sources) => Promise.all(sources.filter(Boolean).map((src) => image(src).decode().catch(() => null)));

// ---- arithmetic: what attention.py computes, of arrays of one map ----

export function rowProfile(values, [height, width]) {
  const rows = Array.from({ length: height }, (_, r) => Math.max(...values.slice(r * width, (r + 1) * width)));
  const top = Math.max(...rows);
  return rows.map((value) => (top > 0 ? value / top : 0));
}

export function cropBounds(profile, t) {
  const first = profile.findIndex((value) => value > t);
  return first < 0 ? [0, profile.length - 1] : [first, profile.findLastIndex((value) => value > t)];
}

/** Rows first..last resized linearly to `rows` entries: centres of pixels, no aligned corners. */
export function resizeRows(profile, [first, last], rows) {
  const length = last - first + 1;
  return Array.from({ length: rows }, (_, k) => {
    const place = clamp(((k + 0.5) * length) / rows - 0.5, 0, length - 1), low = Math.floor(place);
    const [a, b] = [profile[first + low], profile[Math.min(first + low + 1, last)]];
    return a + (b - a) * (place - low);
  });
}

/** Equation 5 for two maps: profiles, crop bounds, aligned profiles M*, and the l2 distance between these. */
export function equation5(maps, grids, t) {
  const profiles = maps.map((values, k) => rowProfile(values, grids[k]));
  const bounds = profiles.map((profile) => cropBounds(profile, t));
  const rows = Math.max(grids[0][0], grids[1][0]);
  const aligned = profiles.map((profile, k) => resizeRows(profile, bounds[k], rows));
  return { profiles, bounds, aligned, distance: Math.hypot(...aligned[0].map((a, k) => a - aligned[1][k])) };
}

/** Values between the cells, linearly, so that a map of few cells has a smooth contour. */
function refine(values, [height, width]) {
  const times = clamp(Math.floor(256 / height), 1, FINE), [H, W] = [height * times, width * times];
  const fine = new Float32Array(H * W), across = places(W, width, times), down = places(H, height, times);
  for (let y = 0; y < H; y++) {
    const [top, bottom, dy] = down[y];
    for (let x = 0; x < W; x++) {
      const [left, right, dx] = across[x];
      const upper = values[top * width + left] * (1 - dx) + values[top * width + right] * dx;
      const lower = values[bottom * width + left] * (1 - dx) + values[bottom * width + right] * dx;
      fine[y * W + x] = upper * (1 - dy) + lower * dy;
    }
  }
  return { values: fine, grid: [H, W] };
}

function places(many, few, times) {
  return Array.from({ length: many }, (_, k) => {
    const place = clamp((k + 0.5) / times - 0.5, 0, few - 1), low = Math.floor(place);
    return [low, Math.min(low + 1, few - 1), place - low];
  });
}

const EDGES = { 1: "LB", 2: "BR", 3: "LR", 4: "TR", 5: "LTBR", 6: "TB", 7: "LT", 8: "LT", 9: "TB", 10: "LBTR", 11: "TR",
  12: "LR", 13: "BR", 14: "LB" }; // marching squares: which edges of a square the contour joins

/** Segments [x0, y0, x1, y1, ...] in shares of the picture where refined values cross a level. */
function contour({ values, grid: [H, W] }, level) {
  const found = [];
  for (let y = 0; y < H - 1; y++) {
    for (let x = 0; x < W - 1; x++) {
      const k = y * W + x, [a, b, c, d] = [values[k], values[k + 1], values[k + W + 1], values[k + W]];
      const edges = EDGES[8 * (a > level) + 4 * (b > level) + 2 * (c > level) + (d > level)];
      for (const edge of edges ?? "") {
        const cut = (p, q) => (level - p) / (q - p);
        const at = { T: () => [cut(a, b), 0], R: () => [1, cut(b, c)], B: () => [cut(d, c), 1], L: () => [0, cut(a, d)] }[edge]();
        found.push((x + 0.5 + at[0]) / W, (y + 0.5 + at[1]) / H);
      }
    }
  }
  return found;
}

const ramps = new Map();
function ramp(name) {
  if (!ramps.has(name)) {
    const stops = (COLOURS[name] ?? COLOURS.inferno).split(" ").map((hex) => [0, 2, 4].map((k) => parseInt(hex.slice(k, k + 2), 16)));
    const table = Array.from({ length: 256 }, (_, k) => {
      const place = (k / 255) * (stops.length - 1), low = Math.min(Math.floor(place), stops.length - 2);
      return stops[low].map((value, c) => value + (stops[low + 1][c] - value) * (place - low));
    });
    ramps.set(name, table);
  }
  return ramps.get(name);
}

/** One map, ready to be drawn: refined once, coloured once for each choice of colours and scale. */
class Field {
  constructor(values, grid, signed = false) {
    Object.assign(this, { values, grid, signed, kept: new Map() });
    this.top = values.reduce((top, value) => Math.max(top, signed ? Math.abs(value) : value), 0);
  }

  once(key, work) {
    if (!this.kept.has(key)) {
      if (this.kept.size > 8) this.kept.clear();
      this.kept.set(key, work());
    }
    return this.kept.get(key);
  }

  fine() { return (this.refined ??= refine(this.values, this.grid)); }

  contour(t) { return this.once(`contour ${t}`, () => (this.top > 0 ? contour(this.fine(), t * this.top) : [])); }

  raster(colours, top) { return this.once(`${colours} ${top}`, () => this.coloured(ramp(this.signed ? "signed" : colours), top)); }

  coloured(table, top) {
    const { values, grid: [H, W] } = this.fine(), canvas = make("canvas", { width: W, height: H });
    const context = canvas.getContext("2d"), pixels = context.createImageData(W, H);
    values.forEach((value, k) => {
      const share = top > 0 ? value / top : 0;
      const [r, g, b] = table[Math.round(255 * clamp(this.signed ? (share + 1) / 2 : share, 0, 1))];
      pixels.data.set([r, g, b, 255], 4 * k);
    });
    context.putImageData(pixels, 0, 0);
    return canvas;
  }
}

/** The similarity of a pair, cell by cell; whole numbers times a scale. */
class Correspondence {
  constructor({ values, scale, grids, score, title, mutual }) {
    const bytes = Uint8Array.from(atob(values), (letter) => letter.charCodeAt(0)), data = new DataView(bytes.buffer);
    this.matrix = Float64Array.from({ length: bytes.length / 2 }, (_, k) => data.getInt16(2 * k, true) * scale);
    Object.assign(this, { grids, score, title, mutual, exact: !/not exact/.test(title), kept: new Map() });
    this.cells = grids.map(([height, width]) => height * width);
  }

  /** The values of a cell of one picture with all cells of the other. */
  partners(side, cell) {
    const [, n] = this.cells;
    if (side === 0) return this.matrix.slice(cell * n, (cell + 1) * n);
    return Float64Array.from({ length: this.cells[0] }, (_, i) => this.matrix[i * n + cell]);
  }

  field(side, cell) {
    const key = `${side} ${cell}`;
    if (!this.kept.has(key)) {
      if (this.kept.size > 16) this.kept.clear();
      const values = this.partners(side, cell), best = values.indexOf(Math.max(...values));
      this.kept.set(key, { field: new Field(values, this.grids[1 - side]), best, value: values[best] });
    }
    return this.kept.get(key);
  }

  /** The share of the score that a rectangle of one picture holds; a cell counts as far as it is covered. */
  shareOf(side, box) {
    const [height, width] = this.grids[side];
    let sum = 0;
    for (let cell = 0; cell < height * width; cell++) {
      const covered = overlap(box.x0, box.x1, cell % width, width) * overlap(box.y0, box.y1, Math.floor(cell / width), height);
      if (covered > 0) sum += covered * this.partners(side, cell).reduce((a, b) => a + b, 0);
    }
    return sum / this.score;
  }
}

const overlap = (low, high, k, count) => Math.max(0, Math.min(high * count, k + 1) - Math.max(low * count, k));

// ---- canvases: `paint(context, width, height)` draws on screen and into an export alike ----

function canvasOf(paint, given = {}) {
  return Object.assign(make("canvas", given), { paint });
}

function repaint(canvas) {
  const ratio = window.devicePixelRatio || 1, [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (!width || !height) return;
  const size = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
  const context = canvas.getContext("2d");
  context.setTransform(size[0] / width, 0, 0, size[1] / height, 0, 0);
  context.clearRect(0, 0, width, height);
  canvas.paint(context, width, height);
}

function outlined(context, x, y, width, height, colour, dash = []) {
  for (const [line, stroke] of [[4, "#fff"], [2, colour]]) {
    Object.assign(context, { lineWidth: line, strokeStyle: stroke });
    context.setLineDash(line === 2 ? dash : []);
    context.strokeRect(x, y, width, height);
  }
  context.setLineDash([]);
}

function writeLines(context, text, width, top) {
  let line = "", y = top;
  for (const word of clean(text).match(/\S{1,14}\s*/g) ?? []) {
    if (line && context.measureText(line + word).width > width - 12) {
      context.fillText(line, 6, y);
      [line, y] = ["", y + 16];
    }
    line += word;
  }
  context.fillText(line, 6, y);
}

// ---- a pair: two pictures, maps, profiles, likeness, numbers ----

class Sheet {
  constructor(viewer, pair) {
    Object.assign(this, { viewer, pair, hover: null, cursor: [null, null], anchor: null, box: null });
    this.methods = pair.methods.map((about) => ({
      ...about, fields: about.maps.map((values, k) => new Field(values, about.grid[k], about.signed)),
    }));
    this.like = filled(pair.correspondence) ? new Correspondence(pair.correspondence) : null;
    this.pictures = SIDES.map((side) => pair[side] ?? {});
    this.painted = { maps: [], rows: [], lines: [], bar: [] };
    this.single = this.methods.length < 2;
    this.el = make("section", { class: `ck-sheet${this.single ? "" : " ck-many"}`, "aria-label": "pair" }, this.head(),
      make("div", { class: "ck-body" }, this.single ? this.stage(this.methods[0]) : this.multiples(), this.side()));
  }

  get state() { return this.viewer.state; }

  head() {
    const { status, heading, judges, verdict, note } = this.pair;
    return make("header", { class: "ck-head", data: { status } }, make("span", { class: "ck-glyph", title: words(status) }, glyph(status)),
      make("h3", {}, heading || words(status)), make("span", { class: judges ? "ck-verdict" : "ck-verdict ck-plain" }, verdict),
      note && make("span", { class: "ck-note" }, note));
  }

  /** The pair large: profile, query, gap for the lines, gallery, profile, aligned profiles. */
  stage(method) {
    const shown = SIDES.map((_, k) => this.picture(method, k));
    const profiles = SIDES.map((_, k) => this.canvas("rows", (...on) => this.paintProfile(method, k, ...on), "ck-profile"));
    const aligned = this.canvas("rows", (...on) => this.paintAligned(method, ...on), "ck-aligned");
    const lines = this.canvas("lines", (...on) => this.paintLines(...on), "ck-lines");
    const captions = this.pictures.map((picture) => this.caption(picture));
    this.parts = { shown, profiles, aligned, lines, captions };
    const empty = [make("span"), make("span")];
    return (this.plate = make("div", { class: "ck-stage" }, make("span", { class: "ck-small" }, "row maxima"), captions[0], empty[0],
      captions[1], make("span", { class: "ck-small ck-right" }, "row maxima"), make("span", { class: "ck-small" }, "aligned (M*)"),
      profiles[0], shown[0], empty[1], shown[1], profiles[1], aligned, lines));
  }

  multiples() {
    return (this.plate = make("div", { class: "ck-figures" }, this.methods.map((method) => make("figure", { data: { method: method.name } },
      make("figcaption", {}, make("b", {}, method.title), method.target && make("span", { class: "ck-small" }, ` · ${method.target}`)),
      make("div", { class: "ck-two" }, SIDES.map((_, k) => this.picture(method, k))), this.distance(method), this.remarks(method)))));
  }

  remarks(method) {
    return [!method.judges && make("p", { class: "ck-plain" }, "Judges nothing: the pair classifier was not trained."),
      method.league && make("p", { class: "ck-league" }, method.league), method.note && make("p", { class: "ck-note" }, method.note)]
      .filter(Boolean);
  }

  distance(method) {
    const text = make("output", { class: "ck-number" });
    text.draw = () => {
      const { distance, bounds } = equation5(method.maps, method.grid, this.state.threshold);
      const rows = bounds.map(([first, last], k) => `${first + 1}–${last + 1} of ${method.grid[k][0]}`).join(", ");
      text.textContent = `${distance.toFixed(4)} at t = ${this.state.threshold} (rows ${rows})`;
      text.dataset.distance = distance;
    };
    this.painted.rows.push(text);
    return make("p", { class: "ck-small" }, "distance of the profiles: ", text);
  }

  caption({ title, name }) {
    return make("div", { class: "ck-caption" }, make("b", {}, title), name && make("bdi", { class: "ck-name", title: name }, name));
  }

  picture(method, k) {
    const { name, error } = this.pictures[k];
    const canvas = this.canvas("maps", (...on) => this.paintPicture(method, k, ...on), "ck-picture", {
      data: { picture: SIDES[k] }, tabindex: 0, role: "img",
      "aria-label": `${SIDES[k]} picture ${name ?? ""}: ${error || method?.title || "no map"}. Arrow keys move a cell.`,
      onpointermove: (event) => this.moved(k, event), onpointerdown: (event) => this.pressed(k, event),
      onpointerup: (event) => this.released(k, event), onpointercancel: () => this.drop(),
      onpointerleave: (event) => event.pointerType === "mouse" && this.point(null),
    });
    canvas.sheet = [this, k];
    return canvas;
  }

  canvas(piece, paint, cls, given = {}) {
    const canvas = canvasOf(paint, { class: cls, "aria-hidden": given.role ? null : "true", ...given });
    this.painted[piece].push(canvas);
    return canvas;
  }

  side() {
    const numbers = this.pair.numbers.map(({ name, text, hint }) => [make("dt", { title: hint }, name), make("dd", { title: hint }, text)]);
    const first = this.single ? this.methods[0] : null;
    const bar = this.canvas("bar", (...on) => this.paintBar(...on), "ck-bar");
    return make("aside", { class: "ck-side" },
      make("div", { class: "ck-said" }, first && make("p", {}, make("b", {}, first.title), first.target && ` · ${first.target}`),
        first && this.distance(first), numbers.length && make("dl", {}, numbers), first && this.remarks(first),
        this.like && make("p", { class: "ck-small" }, `Likeness of cells: ${this.like.title}, ${this.like.score.toFixed(4)} in all.`),
        this.methods.length && make("div", { class: "ck-scale" }, bar)),
      (this.viewer.controlsOf("pair")));
  }

  // -- what is under the pointer --

  grid(k) { return this.like?.grids[k] ?? this.methods[0]?.grid[k] ?? [16, 8]; }

  share(k, event) {
    const rim = event.currentTarget.getBoundingClientRect();
    return [(event.clientX - rim.left) / rim.width, (event.clientY - rim.top) / rim.height].map((x) => clamp(x, 0, 1));
  }

  moved(k, event) {
    const [x, y] = this.share(k, event);
    if (this.start && this.start.k === k) {
      const { x: x0, y: y0 } = this.start, rim = event.currentTarget.getBoundingClientRect();
      if (Math.hypot((x - x0) * rim.width, (y - y0) * rim.height) > 4 || this.box) return this.stretch(k, x0, y0, x, y);
    }
    const [height, width] = this.grid(k);
    this.point([k, Math.min(Math.floor(y * height), height - 1) * width + Math.min(Math.floor(x * width), width - 1)]);
  }

  pressed(k, event) {
    const [x, y] = this.share(k, event);
    this.start = { k, x, y };
    event.currentTarget.setPointerCapture(event.pointerId);
    event.currentTarget.focus({ preventScroll: true });
    if (event.pointerType !== "mouse") this.moved(k, event);
    event.preventDefault();
  }

  released() {
    this.start = null;
    if (this.box?.drawn === false) this.finish();
  }

  drop() { this.start = this.box = null; this.viewer.dirty("maps"); }

  stretch(k, xa, ya, xb, yb) {
    const [[x0, x1], [y0, y1]] = [[xa, xb], [ya, yb]].map((ends) => ends.sort((a, b) => a - b));
    this.box = { side: SIDES[k], x0, y0, x1, y1, drawn: false };
    this.hover = null;
    this.viewer.dirty("maps", "lines", "status");
  }

  /** A rectangle is drawn: Python hides it; without Python its share of the similarity is said. */
  finish() {
    const { side, x0, y0, x1, y1 } = this.box;
    this.box.drawn = true;
    this.viewer.ask({ ask: "rectangle", side, x0, y0, x1, y1 });
    this.viewer.dirty("maps", "status");
  }

  clear() {
    const had = this.box ?? this.state.rectangle;
    Object.assign(this, { box: null, start: null, anchor: null, cursor: [null, null] });
    this.state.rectangle = null;
    if (had) this.viewer.ask({ ask: "rectangle", side: had.side, rectangle: null });
    this.point(null);
    this.viewer.dirty("maps", "lines", "status");
  }

  point(hover, aloud = false) {
    if (String(hover) === String(this.hover)) return;
    this.hover = hover;
    this.viewer.aloud = aloud;
    this.viewer.dirty("maps", "lines", "status");
  }

  /** Keys on a picture: the cell under a cursor, a rectangle from it. */
  key(k, event) {
    const [height, width] = this.grid(k), cell = this.cursor[k] ?? Math.floor(height / 2) * width + Math.floor(width / 2);
    const sideways = event.shiftKey || this.anchor != null;
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ...(sideways && { ArrowLeft: [0, -1], ArrowRight: [0, 1] }) }[event.key];
    if (event.key === "r" || event.key === "R") this.anchor = this.cursor[k] = cell;
    else if (event.key === "Enter" && this.anchor != null) { this.anchor = null; this.finish(); return true; }
    else if (!steps) return false;
    const fresh = this.cursor[k] == null || !steps;
    const [row, column] = [Math.floor(cell / width) + (fresh ? 0 : steps[0]), (cell % width) + (fresh ? 0 : steps[1])];
    this.cursor[k] = clamp(row, 0, height - 1) * width + clamp(column, 0, width - 1);
    if (this.anchor == null) this.point([k, this.cursor[k]], true);
    else {
      const ends = [this.anchor, this.cursor[k]].map((c) => [c % width, Math.floor(c / width)]);
      const [x, y] = [0, 1].map((axis) => ends.map((end) => end[axis]));
      this.stretch(k, Math.min(...x) / width, Math.min(...y) / height, (Math.max(...x) + 1) / width, (Math.max(...y) + 1) / height);
    }
    return true;
  }

  rectangle() {
    const asked = this.box ?? this.state.rectangle;
    return asked && { ...asked, k: SIDES.indexOf(asked.side) };
  }

  status() {
    if (this.hover) return this.cellWords(...this.hover);
    const box = this.rectangle();
    if (!box) return "";
    const area = (box.x1 - box.x0) * (box.y1 - box.y0);
    const share = this.like?.exact && this.like.score > 0 ? ` and ${percent(this.like.shareOf(box.k, box))} of the similarity` : "";
    return `Rectangle in the ${box.side} picture: ${percent(area)} of its area${share}.`;
  }

  place(k, cell) {
    const [, width] = this.grid(k);
    return `row ${Math.floor(cell / width) + 1}, column ${(cell % width) + 1}`;
  }

  cellWords(k, cell) {
    const there = `${SIDES[k]} cell ${this.place(k, cell)}`, field = this.methods[0]?.fields[k];
    const own = field && field.values.length === this.grid(k)[0] * this.grid(k)[1] && field.top > 0
      ? `; its map: ${(field.values[cell] / field.top).toFixed(2)} of the maximum` : "";
    if (!this.like || !this.state.correspondence) return `${there}${own}.`;
    const { best, value } = this.like.field(k, cell), other = `${SIDES[1 - k]} cell ${this.place(1 - k, best)}`;
    const all = this.like.partners(k, cell).reduce((a, b) => a + b, 0) / this.like.score;
    const share = this.like.exact && this.like.score > 0
      ? `${percent(value / this.like.score)} of the similarity (the cell with all partners: ${percent(all)})` : value.toPrecision(4);
    return `${there}; best partner: ${other}, ${share}${own}.`;
  }

  // -- painting --

  top(method, k) { return this.state.scale === "shared" ? Math.max(...method.fields.map((f) => f.top)) : method.fields[k].top; }

  paintPicture(method, k, context, width, height) {
    const { src, error } = this.pictures[k], { state } = this;
    Object.assign(context, { imageSmoothingEnabled: true, imageSmoothingQuality: "high", globalAlpha: 1 });
    if (!src || error) return this.paintMissing(error, context, width, height);
    const picture = image(src);
    if (picture.naturalWidth) context.drawImage(picture, 0, 0, width, height);
    const lit = this.hover && this.like && state.correspondence && this.hover[0] !== k ? this.like.field(...this.hover) : null;
    const field = lit?.field ?? method?.fields[k];
    if (field) {
      context.globalAlpha = state.opacity;
      context.drawImage(field.raster(state.colours, lit ? field.top : this.top(method, k)), 0, 0, width, height);
      context.globalAlpha = 1;
      if (state.contour && !lit) this.paintContour(field, context, width, height);
    }
    this.paintMarks(k, lit, context, width, height);
  }

  paintMissing(error, context, width, height) {
    context.fillStyle = "#8c8c8c";
    context.fillRect(0, 0, width, height);
    Object.assign(context, { fillStyle: "#000", font: "13px system-ui, sans-serif", textBaseline: "alphabetic" });
    writeLines(context, error || "no picture", width, 22);
  }

  paintContour(field, context, width, height) {
    const ends = field.contour(this.state.threshold);
    context.beginPath();
    for (let k = 0; k < ends.length; k += 4) {
      context.moveTo(ends[k] * width, ends[k + 1] * height);
      context.lineTo(ends[k + 2] * width, ends[k + 3] * height);
    }
    for (const [line, stroke] of [[3.4, "#000a"], [1.6, "#fff"]]) {
      Object.assign(context, { lineWidth: line, strokeStyle: stroke, lineCap: "round" });
      context.stroke();
    }
  }

  paintMarks(k, lit, context, width, height) {
    const cell = lit ? lit.best : this.hover?.[0] === k ? this.hover[1] : null, box = this.rectangle();
    if (cell != null) {
      const [rows, columns] = this.grid(k), [w, h] = [width / columns, height / rows];
      outlined(context, (cell % columns) * w, Math.floor(cell / columns) * h, w, h, lit ? "#d55e00" : "#0072b2");
    }
    if (box?.k !== k) return;
    const rim = [box.x0 * width, box.y0 * height, (box.x1 - box.x0) * width, (box.y1 - box.y0) * height];
    context.fillStyle = "#7777";
    context.fillRect(...rim);
    outlined(context, ...rim, "#222", [5, 4]);
  }

  paintProfile(method, k, context, width, height) {
    if (!method) return;
    const { profiles, bounds } = equation5(method.maps, method.grid, this.state.threshold);
    const { ink, faint, series } = this.viewer.palette, step = height / profiles[k].length, [first, last] = bounds[k];
    const right = (share, from = 0) => (k === 0 ? width - (from + share) * width : from * width);
    profiles[k].forEach((value, row) => {
      context.globalAlpha = row < first || row > last ? 0.3 : 1;
      context.fillStyle = series[k];
      context.fillRect(right(value), row * step + Math.min(1, step / 4), value * width, Math.max(step - 2, step / 2));
    });
    Object.assign(context, { globalAlpha: 1, strokeStyle: ink, lineWidth: 1.5 });
    const t = right(this.state.threshold) + (k === 0 ? 0 : this.state.threshold * width);
    context.setLineDash([4, 3]);
    stroke(context, [t, 0, t, height]);
    context.setLineDash([]);
    context.strokeStyle = faint;
    for (const row of [first, last + 1]) stroke(context, [0, row * step, width, row * step]);
  }

  paintAligned(method, context, width, height) {
    if (!method) return;
    const { aligned } = equation5(method.maps, method.grid, this.state.threshold), { ink, faint, series } = this.viewer.palette;
    const inner = width - 12, step = height / aligned[0].length, x = (value) => 6 + value * inner;
    Object.assign(context, { strokeStyle: faint, lineWidth: 1, fillStyle: faint, globalAlpha: 0.5 });
    aligned[0].forEach((a, row) => context.fillRect(x(Math.min(a, aligned[1][row])), row * step, Math.abs(a - aligned[1][row]) * inner, step));
    context.globalAlpha = 1;
    for (const value of [0, 1]) stroke(context, [x(value), 0, x(value), height]);
    aligned.forEach((profile, k) => {
      Object.assign(context, { strokeStyle: series[k], lineWidth: 2.2 });
      context.setLineDash(k ? [6, 3] : []);
      stroke(context, profile.flatMap((value, row) => [x(value), row * step, x(value), (row + 1) * step]));
    });
    context.setLineDash([]);
    Object.assign(context, { fillStyle: ink, font: "12px system-ui, sans-serif", textBaseline: "bottom" });
  }

  /** Over both pictures and the gap: the strongest cells that are each other's best partner, or the one under the pointer. */
  paintLines(context, width, height) {
    if (!this.like || !this.state.correspondence || !this.parts) return;
    const rim = this.parts.lines.getBoundingClientRect(), scale = width / (rim.width || 1);
    const boxes = this.parts.shown.map((canvas) => canvas.getBoundingClientRect());
    const centre = (k, cell) => {
      const [rows, columns] = this.grid(k), box = boxes[k];
      return [(box.left - rim.left + (((cell % columns) + 0.5) / columns) * box.width) * scale,
        (box.top - rim.top + ((Math.floor(cell / columns) + 0.5) / rows) * box.height) * scale];
    };
    let pairs = this.like.mutual.slice(0, LINES);
    if (this.hover) {
      const [k, cell] = this.hover, { best } = this.like.field(k, cell);
      pairs = [k === 0 ? [cell, best, 1] : [best, cell, 1]];
    }
    const most = Math.max(...pairs.map(([, , share]) => share), 1e-9);
    for (const [i, j, share] of pairs.toReversed()) {
      const path = [...centre(0, i), ...centre(1, j)], line = 1 + 2 * (share / most);
      for (const [wide, colour] of [[line + 1.6, "#0009"], [line, "#7fe7d8"]]) {
        Object.assign(context, { lineWidth: wide, strokeStyle: colour, lineCap: "round" });
        stroke(context, path);
      }
      for (const k of [0, 2]) dot(context, path[k], path[k + 1], 1.5 + line, "#7fe7d8");
    }
  }

  paintBar(context, width) {
    const { ink } = this.viewer.palette, { colours, scale } = this.state, method = this.methods[0];
    if (!method) return;
    ramp(method.signed ? "signed" : colours).forEach((colour, k) => {
      context.fillStyle = `rgb(${colour.map(Math.round)})`;
      context.fillRect((k * width) / 256, 0, width / 256 + 1, 10);
    });
    Object.assign(context, { fillStyle: ink, font: "12px system-ui, sans-serif", textBaseline: "top", textAlign: "left" });
    context.fillText(method.signed ? "against" : "0", 0, 14);
    context.textAlign = "center";
    context.fillText(scale === "shared" ? "maximum of both maps = 1" : "each map's maximum = 1", width / 2, 14);
    context.textAlign = "right";
    context.fillText(method.signed ? "for" : "1", width, 14);
    context.textAlign = "left";
  }

  /** Sizes from the room there is: as tall as the window allows, never wider than the box. */
  layout() {
    const room = this.el.clientWidth, tall = this.viewer.pictureHeight();
    const aspects = this.pictures.map(({ width, height }) => clamp(width / height || 0.5, 0.2, 3));
    if (!this.parts) return this.layoutMany(aspects, Math.min(tall, 300));
    const profile = clamp(room * 0.05, 44, 84), gap = clamp(room * 0.05, 36, 90), aligned = clamp(room * 0.09, 84, 150);
    const rest = 2 * profile + gap + aligned + 5 * 6;
    const height = Math.floor(clamp(Math.min(tall, (room - rest) / (aspects[0] + aspects[1])), 90, 900));
    const widths = [profile, height * aspects[0], gap, height * aspects[1], profile, aligned].map(Math.floor);
    this.plate.style.gridTemplateColumns = widths.map((w) => `${w}px`).join(" ");
    this.plate.style.gridTemplateRows = `auto ${height}px`;
  }

  layoutMany(aspects, height) {
    this.plate.querySelectorAll("canvas").forEach((canvas, n) => {
      canvas.style.height = `${height}px`;
      canvas.style.width = `${Math.floor(height * aspects[n % 2])}px`;
    });
  }

  draw(pieces) {
    for (const piece of pieces) for (const part of this.painted[piece] ?? []) (part.draw ?? (() => repaint(part)))();
  }
}

function stroke(context, ends) {
  context.beginPath();
  for (let k = 0; k < ends.length; k += 2) context[k ? "lineTo" : "moveTo"](ends[k], ends[k + 1]);
  context.stroke();
}

function dot(context, x, y, radius, colour) {
  context.fillStyle = colour;
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
}

// ---- controls: native elements, drawn from their description ----

const KINDS = { // kind -> element; its value is read by `valueOf`
  select: ({ options = [] }) => make("select", {}, options.map(([value, text, hint]) => make("option", { value, title: hint }, text))),
  number: ({ min, max, step }) => make("input", { type: "number", min, max, step: step ?? "any" }),
  range: ({ min, max, step }) => make("input", { type: "range", min, max, step }),
  check: () => make("input", { type: "checkbox" }),
  text: ({ hint }) => make("input", { type: "text", placeholder: hint, maxlength: 300 }),
  button: ({ label }) => make("button", { type: "button" }, label),
};

function drawControl(viewer, about) {
  const { name, kind, label, hint, disabled } = about, input = KINDS[kind](about);
  input.dataset.control = name;
  Object.assign(input, { disabled: Boolean(disabled), title: clean(hint) });
  if (kind === "button") {
    input.addEventListener("click", () => viewer.press(about));
    return input;
  }
  const shown = kind === "range" ? make("output", {}) : null;
  const heard = () => viewer.change(name, valueOf(input, about));
  input.addEventListener(kind === "range" ? "input" : "change", heard);
  input.put = (value) => {
    if (kind === "check") input.checked = Boolean(value);
    else if (kind !== "range" && document.activeElement === input) return;
    else input.value = value ?? "";
    if (shown) shown.textContent = Number(value).toFixed(2);
  };
  input.put(name in viewer.state ? viewer.state[name] : about.value);
  return make("label", { class: `ck-control ck-${kind}`, title: hint }, make("span", {}, label), input, shown);
}

function valueOf(input, { kind, options }) {
  if (kind === "check") return input.checked;
  if (kind === "number" || kind === "range") return input.value === "" ? null : Number(input.value);
  return kind === "select" ? options[input.selectedIndex][0] : input.value; // an option's own value: numbers stay numbers
}

// ---- strips of tiles ----

/** A row of tiles. Tiles that stay are kept as they are, so nothing flickers; `open` is called with the tile. */
class Strip {
  constructor(viewer, open, name = "gallery") {
    Object.assign(this, { viewer, open, tiles: new Map(), wheeled: 0 });
    this.row = make("div", { class: "ck-tiles", role: "group", "aria-label": `${name} pictures` });
    this.title = make("b"); this.note = make("span", { class: "ck-note" }); this.place = make("span", { class: "ck-small" });
    this.turns = [-1, 1].map((by) => make("button", { type: "button", class: "ck-turn", "aria-label": by < 0 ? "page before" : "next page",
      onclick: () => viewer.page(by, this) }, by < 0 ? "‹" : "›"));
    this.el = make("section", { class: "ck-strip" }, make("header", {}, this.title, this.place, this.note),
      make("div", { class: "ck-run" }, this.turns[0], this.row, this.turns[1]));
    this.row.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  wheel(event) {
    const by = Math.sign(event.deltaY || event.deltaX);
    if (!by || !this.viewer.canPage(by, this)) return;
    event.preventDefault();
    if (event.timeStamp - this.wheeled < 250) return;
    this.wheeled = event.timeStamp;
    this.viewer.page(by, this);
  }

  draw(strip) {
    this.about = strip;
    this.title.textContent = clean(strip.title);
    this.note.textContent = clean(strip.note);
    this.place.textContent = strip.pages > 1 ? `page ${strip.page + 1} of ${strip.pages}` : "";
    const before = this.tiles;
    this.tiles = new Map();
    const shown = strip.tiles.map((tile, n) => {
      const key = [tile.pair ?? tile.gallery, tile.src, tile.query_src].join(" "), el = before.get(key) ?? this.tile();
      this.tiles.set(this.tiles.has(key) ? `${key} ${n}` : key, el);
      fillTile(el, tile);
      return el;
    });
    if (shown.some((el, n) => this.row.children[n] !== el) || this.row.children.length !== shown.length) this.row.replaceChildren(...shown);
    this.row.querySelector("[aria-current=true]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
    if (!shown.length) this.row.append(make("p", { class: "ck-note" }, "No picture to show."));
    this.turns.forEach((turn, n) => { turn.hidden = !this.viewer.host && strip.tiles.length < 4; turn.disabled = !this.viewer.canPage(n ? 1 : -1, this); });
  }

  tile() { return make("button", { type: "button", class: "ck-tile", onclick: (event) => this.open(event.currentTarget.about) }); }
}

function fillTile(el, tile) {
  const { status, rank, caption, distance, name, chosen, pinned } = tile;
  const sources = [tile.query_src, tile.src].filter((src) => src != null), said = [rank ? `rank ${rank}` : "", words(status), caption, distance, name];
  if (String(el.drawn) !== String(sources)) {
    el.replaceChildren(make("span", { class: "ck-thumbs" }, sources.map((src) => (src ? make("img", { src, alt: "", draggable: "false" })
      : make("span", { class: "ck-none" }, "cannot be read")))), make("span", { class: "ck-label" }));
    el.drawn = sources;
  }
  el.about = tile;
  Object.assign(el.dataset, { tile: tile.pair ?? tile.gallery ?? "", status });
  el.title = clean([caption, name].filter(Boolean).join("\n"));
  el.setAttribute("aria-label", clean(said.filter(Boolean).join(", ")) + (pinned ? ", pinned" : ""));
  el.setAttribute("aria-current", String(Boolean(chosen)));
  el.lastChild.replaceChildren(make("b", {}, [glyph(status), rank, pinned ? "📌" : ""].filter(Boolean).join(" ")), " ", distance ?? "");
}

// ---- tabs: section -> name and what draws it; an entry here is a tab ----

const TABS = {
  pair: ["Pair", drawPair],
  compare: ["Compare", drawCompare],
  failures: ["Failures", drawFailures],
  what_if: ["What if", drawWhatIf],
  notes: ["Notes and export", drawNotes],
};

function drawPair(viewer, pair) { return [viewer.sheet(pair)]; }

const numbersOf = (numbers = []) => make("dl", {}, numbers.map(({ name, text, hint }) => [make("dt", { title: hint }, name), make("dd", {}, text)]));
const noteOf = (note) => note && make("p", { class: "ck-note" }, note);

function drawCompare(viewer, { title, left, right, lines = [], table = [], note }) {
  const strips = [left, right].filter(filled).map((about) => {
    const strip = new Strip(viewer, viewer.openGallery);
    strip.draw(about);
    return strip;
  });
  const slopes = canvasOf((context, width) => paintSlopes(viewer, slopes, strips, lines, context, width), { class: "ck-slopes", role: "img",
    "aria-label": `${lines.length} lines join the places of the same picture` });
  viewer.canvases.push(slopes);
  const [head = [], ...rows] = table;
  return [make("h3", {}, title), strips[0]?.el, slopes, strips[1]?.el, viewer.controlsOf("compare"), noteOf(note),
    table.length && make("table", {}, make("thead", {}, make("tr", {}, head.map((text) => make("th", { scope: "col" }, text)))),
      make("tbody", {}, rows.map((row) => make("tr", {}, row.map((text) => make("td", {}, text))))))];
}

/** From a picture's place on the upper strip to its place on the lower one; a short stub where it is not there. */
function paintSlopes(viewer, canvas, strips, lines, context, width) {
  const rim = canvas.getBoundingClientRect(), scale = width / (rim.width || 1), height = rim.height * scale;
  const middle = (strip, place) => {
    const box = strip?.row.children[place]?.getBoundingClientRect();
    return box && (box.left + box.width / 2 - rim.left) * scale;
  };
  for (const { from, to, status } of lines) {
    const [a, b] = [middle(strips[0], from), middle(strips[1], to)];
    const line = getComputedStyle(viewer.root).getPropertyValue(`--${status.replace(" ", "-")}`) || viewer.palette.ink;
    Object.assign(context, { strokeStyle: line, lineWidth: status === "right" ? 2.4 : 1.4 });
    context.setLineDash(status === "right" ? [] : [5, 3]);
    if (a != null) stroke(context, [a, 2, b ?? a, b == null ? height * 0.3 : height - 2]);
    else if (b != null) stroke(context, [b, height * 0.7, b, height - 2]);
  }
  context.setLineDash([]);
}

function drawFailures(viewer, { tiles = [], histograms = [], note }) {
  const grid = make("div", { class: "ck-grid" }, tiles.map((tile) => {
    const el = make("button", { type: "button", class: "ck-tile", onclick: () => viewer.openQuery(tile) });
    fillTile(el, tile);
    return el;
  }));
  return [viewer.controlsOf("failures"), make("div", { class: "ck-histograms" }, histograms.map((about) => histogram(viewer, about))), noteOf(note),
    tiles.length ? grid : make("p", { class: "ck-note" }, "No query fits.")];
}

function histogram(viewer, { name, label, edges, counts, range }) {
  const [low, high] = [edges[0], edges.at(-1)], most = Math.max(...counts, 1);
  let drawn = range;
  const tell = (ends) => viewer.ask({ ask: "brush", name, low: ends?.[0] ?? null, high: ends?.[1] ?? null });
  const at = (event) => low + clamp(event.offsetX / canvas.clientWidth, 0, 1) * (high - low);
  const canvas = canvasOf((context, width, height) => counts.forEach((count, k) => {
    const x = (edge) => ((edge - low) / (high - low || 1)) * width, middle = (edges[k] + edges[k + 1]) / 2;
    const inside = !drawn || (middle >= drawn[0] && middle <= drawn[1]);
    context.fillStyle = inside ? viewer.palette.accent : viewer.palette.faint;
    context.fillRect(x(edges[k]) + 0.5, height - (count / most) * height, x(edges[k + 1]) - x(edges[k]) - 1, (count / most) * height);
  }), { class: "ck-histogram", role: "img", "aria-label": `${label}: ${counts.join(", ")}` });
  let start = null;
  canvas.addEventListener("pointerdown", (event) => { start = at(event); canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", (event) => {
    if (start == null) return;
    drawn = [start, at(event)].sort((a, b) => a - b);
    repaint(canvas);
  });
  canvas.addEventListener("pointerup", (event) => { const wide = Math.abs(at(event) - start) > (high - low) / 200; start = null; tell(wide ? drawn : null); });
  viewer.canvases.push(canvas);
  const ends = [0, 1].map((k) => make("input", { type: "number", step: "any", value: (range ?? [low, high])[k], "aria-label": `${label}, ${k ? "to" : "from"}`,
    data: { control: `${name}-${k}` }, onchange: (event) => tell(k ? [(range ?? [low])[0], Number(event.target.value)] : [Number(event.target.value), (range ?? [0, high])[1]]) }));
  return make("figure", {}, make("figcaption", {}, label), canvas, make("div", { class: "ck-ends" }, ends[0], range && make("button", { type: "button",
    data: { control: `${name}-all` }, onclick: () => tell(null) }, "all"), ends[1]));
}

function drawWhatIf(viewer, { pair, before, after, control, numbers, note }) {
  const strips = [before, after].filter(filled).map((about) => {
    const strip = new Strip(viewer, viewer.openGallery);
    strip.draw(about);
    return strip.el;
  });
  return [viewer.controlsOf("what_if"), strips, noteOf(note), make("div", { class: "ck-pairs" }, numbersOf(numbers),
    filled(control) && make("div", {}, make("b", {}, control.title), numbersOf(control.numbers))), filled(pair) && viewer.sheet(pair)];
}

function drawNotes(viewer, { text, tags = [], saved, list = [], exports = [] }) {
  const area = make("textarea", { rows: 4, maxlength: 4000, "aria-label": "note", data: { control: "note" } }, text);
  const labels = make("input", { type: "text", value: tags.join(", "), placeholder: "tags, with commas", "aria-label": "tags", data: { control: "tags" } });
  const save = () => viewer.ask({ ask: "note", text: area.value, tags: labels.value.split(",").map((tag) => tag.trim()).filter(Boolean) });
  return [viewer.controlsOf("notes"), make("div", { class: "ck-write" }, area, labels, make("button", { type: "button", onclick: save }, "Save the note"),
    make("span", { class: "ck-note", role: "status" }, saved)),
    exports.length && make("div", { class: "ck-controls" }, exports.map(([kind, label]) => make("button", { type: "button",
      onclick: () => (kind === "png" ? viewer.save() : viewer.ask({ ask: "export", kind, view: "pair" })) }, label))),
    make("ul", { class: "ck-list" }, list.map((note) => make("li", {}, make("button", { type: "button", onclick: () => viewer.ask({ ask: "set",
      changes: { query: note.query, gallery: note.gallery, tab: "pair" } }) }, `query ${note.query}, gallery ${note.gallery}`), " ",
      make("b", {}, note.tags?.join(", ")), " ", note.text)))];
}

// ---- the whole ----

const SERIES = { light: ["#332288", "#117733"], dark: ["#b9a7ff", "#7bd389"] };
const QUIET = "button, input, select, textarea, nav, .ck-controls, .ck-hidden, dialog"; // not part of an exported picture

class Viewer {
  constructor(el, view, host) {
    Object.assign(this, { el, host, view: { ...view }, canvases: [], sheets: [], pending: {}, waiting: new Set(), watch: new AbortController() });
    this.state = { ...DEFAULTS, ...view.state };
    this.build();
    this.listen();
    if (view.pairs?.length && !filled(view.pair)) this.choose(0, false);
    this.dirty("theme", "controls", "tabs", "strip", "body", "notice");
    this.flush();
  }

  build() {
    this.bar = make("div", { class: "ck-bar-top" });
    this.tabs = make("nav", { role: "tablist", "aria-label": "views" });
    this.strip = new Strip(this, (tile) => this.openTile(tile));
    this.body = make("div", { class: "ck-tab", role: "tabpanel" });
    this.notice = make("div", { class: "ck-notice" });
    this.line = make("p", { class: "ck-status", data: { empty: "Point at a picture, or touch it; drag to draw a rectangle. Press ? for keys." } });
    this.live = make("div", { class: "ck-hidden", "aria-live": "polite", role: "status" });
    this.help = make("dialog", { class: "ck-help" }, make("h3", {}, "Keys"), make("dl", {}, KEYS.map(([key, what]) => [make("dt", {}, key), make("dd", {}, what)])),
      make("button", { type: "button", onclick: () => this.help.close() }, "Close"));
    this.root = make("div", { class: "casnkit", role: "region", "aria-label": "pair viewer", data: { lmSuppressShortcuts: "true", status: "" } },
      make("div", { class: "ck-top" }, this.tabs, this.bar, make("button", { type: "button", class: "ck-ask", "aria-label": "keys", onclick: () => this.help.showModal() }, "?")),
      this.notice, this.strip.el, this.body, this.line, this.live, this.help);
    this.el.append(this.root);
  }

  listen() {
    const { signal } = this.watch, again = () => this.dirty("theme");
    this.root.addEventListener("keydown", (event) => this.key(event), { signal });
    for (const kind of ["keyup", "keypress"]) this.root.addEventListener(kind, (event) => event.stopPropagation(), { signal });
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.dark.addEventListener("change", again, { signal });
    window.addEventListener("resize", () => this.dirty("size"), { signal });
    this.observers = [new ResizeObserver(() => this.dirty("size")), new MutationObserver(again)];
    this.observers[0].observe(this.root);
    this.observers[1].observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  }

  destroy() {
    this.watch.abort();
    this.observers.forEach((observer) => observer.disconnect());
    clearTimeout(this.timer);
    cancelAnimationFrame(this.frame);
    this.gone = true;
    this.root.remove();
  }

  // -- what changes, and who is told --

  ask(message) { this.host?.ask(message); }

  /** A section has a new value. */
  update(section, value) {
    const before = this.state;
    this.view[section] = value;
    if (section === "state") {
      this.state = { ...DEFAULTS, ...value, ...this.pending };
      const changed = Object.keys(this.state).filter((name) => this.state[name] !== before[name]);
      this.sheets.forEach((sheet) => { if (changed.includes("rectangle")) sheet.box = null; });
      this.dirty("values", ...changed.flatMap((name) => LOOK[name] ?? { tab: ["tabs", "body"], rectangle: ["maps", "status"] }[name] ?? []));
    } else if (section === "strip") this.dirty("strip");
    else if (section === "controls") this.dirty("controls", "tabs");
    else if (section === "busy" || section === "error") this.dirty("notice");
    else if (section === this.state.tab) this.dirty("body");
    else this.dirty("tabs");
  }

  /** A control has a new value: drawn at once where the browser can, else asked for. */
  change(name, value) {
    if (!(name in LOOK)) return this.ask({ ask: "set", changes: { [name]: value } });
    this.state = { ...this.state, [name]: value };
    this.pending[name] = value;
    this.dirty("values", ...LOOK[name]);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => { this.ask({ ask: "set", changes: this.pending }); this.pending = {}; }, WAIT);
  }

  press({ name, value, message }) {
    if (name === "png") return this.save();
    return this.ask(name in (this.view.state ?? {}) ? { ask: "set", changes: { [name]: value } } : { ask: name, ...message });
  }

  /** Draw pieces again, all together, before the next frame. */
  dirty(...pieces) {
    pieces.forEach((piece) => this.waiting.add(piece));
    if (!this.frame && !this.gone) this.frame = requestAnimationFrame(() => this.flush());
  }

  flush() {
    cancelAnimationFrame(this.frame);
    this.frame = null;
    const pieces = this.waiting;
    this.waiting = new Set();
    if (pieces.delete("theme")) { this.theme(); pieces.add("size"); }
    for (const [piece, draw] of Object.entries(this.whole)) if (pieces.delete(piece)) draw.call(this);
    if (pieces.delete("size")) this.resize();
    if (pieces.delete("status")) this.say();
    this.sheets.forEach((sheet) => sheet.draw(pieces));
  }

  get whole() {
    return { tabs: this.drawTabs, controls: this.drawControls, values: this.drawValues, strip: this.drawStrip, notice: this.drawNotice, body: this.drawBody };
  }

  theme() {
    const page = document.body.dataset.jpThemeLight, { theme, projector } = this.state;
    const dark = theme === "auto" ? (page ? page === "false" : this.dark.matches) : theme === "dark";
    Object.assign(this.root.dataset, { theme: dark ? "dark" : "light", projector: String(Boolean(projector)) });
    const style = getComputedStyle(this.root), of = (name) => style.getPropertyValue(name).trim();
    this.palette = { ink: of("--ink"), faint: of("--line"), accent: of("--accent"), series: SERIES[dark ? "dark" : "light"] };
  }

  resize() {
    this.sheets.forEach((sheet) => { sheet.layout(); sheet.draw(Object.keys(sheet.painted)); });
    this.canvases.forEach(repaint);
  }

  pictureHeight() {
    const taken = this.state.tab === "pair" ? this.body.getBoundingClientRect().top - this.root.getBoundingClientRect().top + 150 : 300;
    return clamp((this.state.projector ? 1.15 : 0.86) * window.innerHeight - taken, 200, this.state.projector ? 900 : 640);
  }

  say() {
    const sheet = this.sheets.find((one) => one.hover || one.rectangle()), text = sheet?.status() ?? "";
    this.root.dataset.status = this.line.textContent = text;
    if (this.aloud || !sheet?.hover) this.live.textContent = text;
    this.aloud = false;
  }

  // -- the pieces --

  tabNames() { return Object.keys(TABS).filter((name) => name === "pair" || name in (this.view.controls ?? {}) || filled(this.view[name])); }

  drawTabs() {
    const names = this.tabNames();
    this.tabs.hidden = names.length < 2;
    keepFocus(this.tabs, () => this.tabs.replaceChildren(...names.map((name) => make("button", { type: "button", role: "tab", data: { control: `tab-${name}` },
      "aria-selected": String(name === this.state.tab), tabindex: name === this.state.tab ? 0 : -1, onclick: () => this.openTab(name) }, TABS[name][0]))));
    this.root.dataset.tab = this.state.tab;
  }

  drawControls() {
    keepFocus(this.root, () => {
      this.bar.replaceChildren(...[this.controlsOf("")].filter(Boolean));
      const box = this.body.querySelector(".ck-controls[data-of]");
      if (box) box.replaceWith(this.controlsOf(box.dataset.of) ?? "");
    });
  }

  drawValues() { this.root.querySelectorAll("[data-control]").forEach((input) => input.dataset.control in this.state && input.put?.(this.state[input.dataset.control])); }

  controlsOf(tab) {
    const found = this.view.controls?.[tab] ?? [];
    return found.length ? make("div", { class: "ck-controls", data: { of: tab } }, found.map((about) => drawControl(this, about))) : null;
  }

  drawStrip() {
    const { strip } = this.view;
    this.strip.el.hidden = !filled(strip);
    if (filled(strip)) keepFocus(this.strip.el, () => this.strip.draw(strip));
  }

  /** The open tab. A pair is put in place once its pictures are decoded, so that nothing flashes. */
  async drawBody() {
    const { tab } = this.state, section = this.view[tab], turn = (this.turn = (this.turn ?? 0) + 1);
    const pair = tab === "pair" ? section : section?.pair;
    if (filled(pair)) await ready([pair.query?.src, pair.gallery?.src]);
    if (turn !== this.turn || this.gone) return;
    [this.sheets, this.canvases] = [[], []];
    const drawn = filled(section) ? TABS[tab][1](this, section).flat().filter(Boolean) : [make("p", { class: "ck-note" }, "Nothing to show here yet.")];
    keepFocus(this.root, () => this.body.replaceChildren(...drawn));
    this.body.scrollIntoView && (this.root.dataset.tab = tab);
    this.dirty("size", "status");
  }

  sheet(pair) {
    const sheet = new Sheet(this, pair);
    this.sheets.push(sheet);
    return sheet.el;
  }

  drawNotice() {
    const { busy = {}, error = {} } = this.view;
    this.notice.replaceChildren(...[
      error.text && make("p", { class: "ck-error", role: "alert" }, error.text),
      busy.what && make("p", { role: "status" }, busy.what, " ", make("progress", { max: busy.total || 1, value: busy.done || 0 }), " ",
        `${busy.done ?? 0} of ${busy.total ?? "?"} `, busy.can_cancel && make("button", { type: "button", onclick: () => this.ask({ ask: "cancel" }) }, "Cancel")),
    ].filter(Boolean));
  }

  // -- opening things --

  openTab(name) {
    if (this.host) this.ask({ ask: "set", changes: { tab: name } });
    this.state = { ...this.state, tab: name };
    this.dirty("tabs", "body");
  }

  openTile(tile) { return tile.pair != null ? this.choose(tile.pair) : this.openGallery(tile); }

  openGallery = (tile) => this.ask({ ask: "set", changes: { gallery: tile.gallery } });

  openQuery({ query, gallery }) { this.ask({ ask: "set", changes: { query, ...(gallery != null && { gallery }), tab: "pair" } }); }

  /** On a page: show one of its pairs. */
  choose(number) {
    const { pairs, strip } = this.view;
    this.chosen = clamp(number, 0, pairs.length - 1);
    const tiles = pairs.map(({ pair, ...tile }, n) => ({ src: pair.gallery.src, query_src: pair.query.src, ...tile, pair: n, chosen: n === this.chosen }));
    this.view.strip = { page: 0, pages: 1, title: "Pairs", ...strip, tiles, note: `${this.chosen + 1} of ${pairs.length}` };
    this.view.pair = pairs[this.chosen].pair;
    this.dirty("strip", "body");
  }

  step(by) { return this.view.pairs ? this.choose(this.chosen + by) : this.ask({ ask: "step", by }); }

  canPage(by, strip) {
    const { page = 0, pages = 1 } = strip.about ?? {}, { row } = strip;
    if (!this.view.pairs) return page + by >= 0 && page + by < pages;
    return by < 0 ? row.scrollLeft > 1 : row.scrollLeft + row.clientWidth < row.scrollWidth - 1;
  }

  page(by, strip = this.strip) {
    if (!this.canPage(by, strip)) return;
    if (!this.view.pairs) return this.ask({ ask: "page", to: strip.about.page + by });
    strip.row.scrollBy({ left: by * strip.row.clientWidth * 0.9 });
    setTimeout(() => strip.turns.forEach((turn, n) => { turn.disabled = !this.canPage(n ? 1 : -1, strip); }), 450);
  }

  /** Keys stay inside the box: JupyterLab never sees them. */
  key(event) {
    event.stopPropagation();
    const { target } = event, [sheet, side] = target.sheet ?? [];
    if (event.ctrlKey || event.metaKey || event.altKey || target.matches("input, select, textarea")) return;
    const tab = target.closest("[role=tab]");
    if (tab && event.key.startsWith("Arrow")) this.turnTab(event.key === "ArrowLeft" || event.key === "ArrowUp" ? -1 : 1);
    else if (sheet?.key(side, event)) { /* the cell was moved */ }
    else if (event.key === "Escape") this.sheets.forEach((one) => one.clear());
    else if (event.key === "?") this.help.showModal();
    else if (target.matches("canvas, .ck-tile") && event.key in STEPS) STEPS[event.key](this, target);
    else return;
    event.preventDefault();
  }

  turnTab(by) {
    const names = this.tabNames(), next = names[(names.indexOf(this.state.tab) + by + names.length) % names.length];
    this.openTab(next);
    this.flush();
    this.tabs.querySelector("[aria-selected=true]").focus();
  }

  // -- the picture as a file: what is on screen, at twice its size --

  async save() {
    const { pair, state = {} } = this.view, { methods = [], query = {}, gallery = {} } = pair ?? {};
    const parts = ["casnkit", state.network, query.title, gallery.title, ...methods.map((method) => method.name)].filter((part) => part != null && part !== "");
    const name = parts.join("-").normalize("NFKD").replace(/[^\w.]+/g, "-").slice(0, 120);
    const blob = await new Promise((done) => exported(this.body, this.root).toBlob(done, "image/png"));
    download(`${name}.png`, blob);
  }
}

const STEPS = { // keys on a tile or a picture
  ArrowLeft: (viewer) => viewer.step(-1),
  ArrowRight: (viewer) => viewer.step(1),
  PageUp: (viewer) => viewer.page(-1),
  PageDown: (viewer) => viewer.page(1),
};

/** Do something that makes elements anew, and give the focus back to the one with the same name. */
function keepFocus(within, work) {
  const had = within.contains(document.activeElement) ? document.activeElement : null;
  const name = ["control", "tile", "picture"].find((key) => had?.dataset[key] !== undefined);
  work();
  if (!had || had.isConnected) return;
  const again = name && [...within.querySelectorAll(`[data-${name}]`)].find((el) => el.dataset[name] === had.dataset[name]);
  (again ?? within.querySelector("[aria-current=true]") ?? within.querySelector("button"))?.focus({ preventScroll: true });
}

function download(name, blob) {
  const link = make("a", { download: name, href: URL.createObjectURL(blob) });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/** An element and all in it as a canvas: boxes, pictures, canvases by their own paint functions, words as words. */
function exported(element, root) {
  const rim = element.getBoundingClientRect(), canvas = make("canvas", { width: Math.ceil(2 * rim.width), height: Math.ceil(2 * rim.height) });
  const context = canvas.getContext("2d");
  context.scale(2, 2);
  context.fillStyle = getComputedStyle(root).backgroundColor;
  context.fillRect(0, 0, rim.width, rim.height);
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT, (node) =>
    (node.matches?.(QUIET) && !node.matches(".ck-tile") ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT));
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    if (node instanceof Text) drawWords(context, node, rim);
    else drawBox(context, node, rim);
  }
  return canvas;
}

function drawBox(context, el, rim) {
  const { left, top, width, height } = el.getBoundingClientRect(), style = getComputedStyle(el), line = parseFloat(style.borderTopWidth);
  context.save();
  context.translate(left - rim.left, top - rim.top);
  if (el.paint) el.paint(context, width, height);
  else if (el instanceof HTMLImageElement) context.drawImage(el, 0, 0, width, height);
  if (line > 0 && style.borderTopStyle !== "none") {
    Object.assign(context, { strokeStyle: style.borderTopColor, lineWidth: line });
    context.setLineDash({ dashed: [6, 4], dotted: [2, 2] }[style.borderTopStyle] ?? []);
    context.strokeRect(line / 2, line / 2, width - line, height - line);
  }
  context.restore();
}

function drawWords(context, text, rim) {
  const style = getComputedStyle(text.parentElement), range = document.createRange();
  Object.assign(context, { fillStyle: style.color, font: `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`, textBaseline: "middle" });
  for (const { 0: word, index } of text.data.matchAll(/\S+/g)) {
    range.setStart(text, index);
    range.setEnd(text, index + word.length);
    const box = range.getBoundingClientRect();
    if (box.width) context.fillText(word, box.left - rim.left, box.top - rim.top + box.height / 2);
  }
}

/** Draw a view in an element. `host`: {ask(message)}, or null on a page of its own. */
export function mount(el, view, host = null) {
  const viewer = new Viewer(el, view, host);
  return { update: (section, value) => viewer.update(section, value), destroy: () => viewer.destroy(), viewer };
}

export default {
  render({ model, el }) {
    const view = Object.fromEntries(SECTIONS.map((name) => [name, model.get(name) ?? {}]));
    const viewer = mount(el, view, { ask: (message) => model.send(message) });
    const heard = SECTIONS.map((name) => [`change:${name}`, () => viewer.update(name, model.get(name) ?? {})]);
    heard.push(["msg:custom", ({ download: file }, buffers) => file && download(file.name, new Blob([buffers[0]], { type: file.mime }))]);
    heard.forEach(([event, answer]) => model.on(event, answer));
    return () => { heard.forEach(([event, answer]) => model.off(event, answer)); viewer.destroy(); };
  },
};
