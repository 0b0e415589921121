// The picture in the browser: a view (plain values, see payload.py) becomes elements and canvases. No dependency, no
// build step. In a notebook Python answers what is asked of `host`; on a page of its own there is none, nothing is asked.
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
const LOOKS = [ // controls of the same fields, and the button that saves what is on screen
  { name: "opacity", kind: "range", label: "Opacity", min: 0, max: 1, step: 0.01 },
  { name: "threshold", kind: "range", label: "Threshold t", min: 0, max: 0.99, step: 0.01, hint: "share of the map's maximum" },
  { name: "colours", kind: "select", label: "Colours",
    options: ["inferno", "cividis", "viridis", "grey"].map((name) => [name, name]) },
  { name: "scale", kind: "select", label: "Scale", options: [["own", "each map's own maximum"], ["shared", "one for both maps"]] },
  { name: "contour", kind: "check", label: "Contour at t" },
  { name: "correspondence", kind: "check", label: "Like with like", hint: "a cell's partners in the other picture, and lines" },
  { name: "projector", kind: "check", label: "Projector", hint: "larger letters and pictures" },
  { name: "theme", kind: "select", label: "Theme", options: [["auto", "as the page"], ["light", "light"], ["dark", "dark"]] },
  { name: "png", kind: "button", label: "Save as PNG", hint: "what is on screen, at twice its size" },
];
const KEYS = [
  ["← →", "on a tile or a picture: previous, next picture of the strip"],
  ["Page up, Page down", "other page of the strip"],
  ["↑ ↓, Shift ← →", "on a picture: move the cell, and see its partners"],
  ["R, arrows, Enter", "on a picture: draw a rectangle from the cell, and ask about it"],
  ["Enter", "open what has the focus"],
  ["Escape", "take the rectangle and the cell away"],
  ["?", "this list"],
];
const LINES = 12, FINE = 8, WAIT = 150, KEPT = 96; // lines; steps within a cell; ms until Python is told; pictures

const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
const sum = (values) => values.reduce((a, b) => a + b, 0);
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g; // control and direction marks
const clean = (text) => String(text ?? "").replace(UNSEEN, "□");
const percent = (share) => `${(100 * share).toFixed(Math.abs(share) < 0.1 ? 2 : 1)} %`;
const filled = (section) => section && Object.keys(section).length > 0;
const glyph = (status) => (STATUS[status] ?? ["", ""])[0];
const words = (status) => (STATUS[status] ?? ["", status])[1];

/** An element: `on...` are listeners, `data` its data attributes, the rest attributes; children are nodes or text. */
function make(tag, given = {}, ...children) {
  const el = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (name === "data") for (const [key, text] of Object.entries(value)) el.dataset[key] = clean(text);
    else if (name.startsWith("on")) el.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) el.setAttribute(name, value === true ? "" : clean(value));
  }
  const shown = children.flat(Infinity).filter((child) => child != null && child !== "" && child !== false);
  el.append(...shown.map((child) => (child instanceof Node ? child : clean(child))));
  return el;
}
const button = (given, ...children) => make("button", { type: "button", ...given }, ...children);
const [para, span] = ["p", "span"].map((tag) => (cls, ...text) => make(tag, { class: cls }, text));
const bold = (...text) => make("b", {}, text);
const noteOf = (note) => note && para("ck-note", note);
const numbersOf = (numbers = []) => numbers.length > 0 && make("dl", {}, numbers.map(({ name, text, hint }) =>
  [make("dt", { title: hint }, name), make("dd", { title: hint }, text)]));

const images = new Map(); // src -> picture, the last few
function image(src) {
  if (!images.has(src)) {
    images.set(src, Object.assign(new Image(), { src }));
    if (images.size > KEPT) images.delete(images.keys().next().value);
  }
  return images.get(src);
}
const decoded = (sources) => Promise.all(sources.filter(Boolean).map((src) => image(src).decode().catch(() => null)));

function rowProfile(values, [height, width]) {
  const rows = Array.from({ length: height }, (_, r) => Math.max(...values.slice(r * width, (r + 1) * width)));
  const top = Math.max(...rows);
  return rows.map((value) => (top > 0 ? value / top : 0));
}

function cropBounds(profile, t) {
  const first = profile.findIndex((value) => value > t);
  return first < 0 ? [0, profile.length - 1] : [first, profile.findLastIndex((value) => value > t)];
}

/** Rows first..last resized linearly to `rows` entries: centres of pixels, no aligned corners. */
function resizeRows(profile, [first, last], rows) {
  const length = last - first + 1;
  return Array.from({ length: rows }, (_, k) => {
    const place = clamp(((k + 0.5) * length) / rows - 0.5, 0, length - 1), low = Math.floor(place);
    const [a, b] = [profile[first + low], profile[Math.min(first + low + 1, last)]];
    return a + (b - a) * (place - low);
  });
}

/** Equation 5 for two maps: profiles, crop bounds, aligned profiles M*, and the l2 distance between these. */
export function equation5({ maps, grid }, t) {
  const profiles = maps.map((values, k) => rowProfile(values, grid[k]));
  const bounds = profiles.map((profile) => cropBounds(profile, t)), rows = Math.max(grid[0][0], grid[1][0]);
  const aligned = profiles.map((profile, k) => resizeRows(profile, bounds[k], rows));
  return { t, profiles, bounds, aligned, distance: Math.hypot(...aligned[0].map((a, k) => a - aligned[1][k])) };
}

/** Values between the cells, linearly, so that a map of few cells has a smooth contour. */
function refine(values, [height, width]) {
  const times = clamp(Math.floor(256 / height), 1, FINE), [H, W] = [height * times, width * times];
  const fine = new Float32Array(H * W), across = between(W, width, times), down = between(H, height, times);
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

function between(many, few, times) {
  return Array.from({ length: many }, (_, k) => {
    const place = clamp((k + 0.5) / times - 0.5, 0, few - 1), low = Math.floor(place);
    return [low, Math.min(low + 1, few - 1), place - low];
  });
}

const CORNERS = [[0, 0], [1, 0], [1, 1], [0, 1]];

/** Segments [x0, y0, x1, y1, ...] in shares of the picture where refined values cross a level (marching squares). */
function contour({ values, grid: [H, W] }, level) {
  const found = [];
  for (let y = 0; y < H - 1; y++) {
    for (let x = 0; x < W - 1; x++) {
      const k = y * W + x, inside = values[k] > level;
      const differs = (n) => values[n] > level !== inside;
      if (!differs(k + 1) && !differs(k + W) && !differs(k + W + 1)) continue;
      const square = [values[k], values[k + 1], values[k + W + 1], values[k + W]];
      for (let edge = 0; edge < 4; edge++) {
        const next = (edge + 1) % 4, [p, q] = [square[edge], square[next]];
        if (p > level === q > level) continue;
        const share = (level - p) / (q - p), at = (axis) =>
          CORNERS[edge][axis] + share * (CORNERS[next][axis] - CORNERS[edge][axis]) + 0.5;
        found.push((x + at(0)) / W, (y + at(1)) / H);
      }
    }
  }
  return found;
}

const ramps = new Map();
function ramp(name) {
  if (!ramps.has(name)) {
    const channels = (hex) => hex.match(/../g).map((byte) => parseInt(byte, 16));
    const stops = (COLOURS[name] ?? COLOURS.inferno).split(" ").map(channels);
    ramps.set(name, Array.from({ length: 256 }, (_, k) => {
      const place = (k / 255) * (stops.length - 1), low = Math.min(Math.floor(place), stops.length - 2);
      return stops[low].map((value, c) => value + (stops[low + 1][c] - value) * (place - low));
    }));
  }
  return ramps.get(name);
}

/** What is computed once for a key; the last few are kept. */
class Once extends Map {
  of(key, work) {
    if (!this.has(key)) {
      if (this.size > 12) this.clear();
      this.set(key, work());
    }
    return this.get(key);
  }
}

/** One map, ready to be drawn: refined once, coloured once for each choice of colours and scale. */
class Field {
  constructor(values, grid, signed = false) {
    Object.assign(this, { values, grid, signed, kept: new Once() });
    this.top = values.reduce((top, value) => Math.max(top, signed ? Math.abs(value) : value), 0);
  }
  fine() { return (this.refined ??= refine(this.values, this.grid)); }
  contour(t) { return this.kept.of(t, () => (this.top > 0 ? contour(this.fine(), t * this.top) : [])); }
  raster(colours, top) {
    return this.kept.of(`${colours} ${top}`, () => this.coloured(ramp(this.signed ? "signed" : colours), top));
  }

  coloured(table, top) {
    const { values, grid: [height, width] } = this.fine(), canvas = make("canvas", { width, height });
    const context = canvas.getContext("2d"), pixels = context.createImageData(width, height);
    values.forEach((value, k) => {
      const share = top > 0 ? value / top : 0;
      const [r, g, b] = table[Math.round(255 * clamp(this.signed ? (share + 1) / 2 : share, 0, 1))];
      pixels.data.set([r, g, b, 255], 4 * k);
    });
    context.putImageData(pixels, 0, 0);
    return canvas;
  }
}

/** The similarity of a pair, cell by cell: whole numbers times a scale. */
class Correspondence {
  constructor({ values, scale, grids, score, title, mutual }) {
    const bytes = Uint8Array.from(atob(values), (letter) => letter.charCodeAt(0)), data = new DataView(bytes.buffer);
    this.matrix = Float64Array.from({ length: bytes.length / 2 }, (_, k) => data.getInt16(2 * k, true) * scale);
    Object.assign(this, { grids, score, title, mutual, kept: new Once() });
    this.shares = !/not exact/.test(title) && score > 0; // whether values are shares of the score
    [this.n1, this.n2] = grids.map(([height, width]) => height * width);
  }

  /** The values of a cell of one picture with all cells of the other, as a map, and the best of them. */
  partners(side, cell) {
    return this.kept.of(`${side} ${cell}`, () => {
      const { n1, n2, matrix } = this, column = () => Float64Array.from({ length: n1 }, (_, i) => matrix[i * n2 + cell]);
      const values = side ? column() : matrix.slice(cell * n2, (cell + 1) * n2);
      const best = values.indexOf(Math.max(...values));
      return { field: new Field(values, this.grids[1 - side]), best, value: values[best], total: sum(values) };
    });
  }

  /** The share of the score that a rectangle of one picture holds; a cell counts as far as it is covered. */
  shareOf(side, box) {
    const [height, width] = this.grids[side];
    const covered = (low, high, k) => Math.max(0, Math.min(high, k + 1) - Math.max(low, k));
    const [x0, x1, y0, y1] = [box.x0 * width, box.x1 * width, box.y0 * height, box.y1 * height];
    const parts = Array.from({ length: height * width }, (_, cell) => {
      const area = covered(x0, x1, cell % width) * covered(y0, y1, Math.floor(cell / width));
      return area && area * this.partners(side, cell).total;
    });
    return sum(parts) / this.score;
  }
}

const canvasOf = (paint, given = {}) => Object.assign(make("canvas", given), { paint });

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

function stroke(context, ends) {
  context.beginPath();
  for (let k = 0; k < ends.length; k += 2) context[k ? "lineTo" : "moveTo"](ends[k], ends[k + 1]);
  context.stroke();
}

function outline(context, x, y, width, height, colour, dash = []) {
  for (const [lineWidth, strokeStyle, dashes] of [[4, "#fff", []], [2, colour, dash]]) {
    Object.assign(context, { lineWidth, strokeStyle });
    context.setLineDash(dashes);
    context.strokeRect(x, y, width, height);
  }
  context.setLineDash([]);
}

function write(context, text, x, y, textAlign, fillStyle) {
  Object.assign(context, { fillStyle, font: "12px system-ui, sans-serif", textBaseline: "top", textAlign });
  context.fillText(text, x, y);
}

class Sheet {
  constructor(viewer, pair, extra) {
    Object.assign(this, { viewer, pair, hover: null, cursor: [null, null], anchor: null, box: null });
    this.methods = pair.methods.map((about) => ({ ...about, kept: new Once(),
      fields: about.maps.map((values, k) => new Field(values, about.grid[k], about.signed)) }));
    this.like = filled(pair.correspondence) ? new Correspondence(pair.correspondence) : null;
    this.pictures = SIDES.map((side) => pair[side] ?? {});
    this.painted = { maps: [], rows: [], lines: [], bar: [] };
    const one = this.methods.length < 2 ? this.methods[0] ?? null : undefined, side = this.side(one, extra);
    const body = one === undefined ? [this.multiples(side)] : [this.stage(one), side];
    this.el = make("section", { "aria-label": "pair" }, this.head(), make("div", { class: "ck-body" }, body));
  }

  get state() { return this.viewer.state; }

  head() {
    const { status, heading, judges, verdict, note } = this.pair;
    return make("header", { class: "ck-head", data: { status } },
      span("ck-glyph", glyph(status)), make("h3", {}, heading || words(status)),
      span(judges ? "ck-verdict" : "ck-plain", verdict), note && span("ck-note", note));
  }

  /** The pair large: profile, query, gap for the lines, gallery, profile, aligned profiles. */
  stage(method) {
    const shown = SIDES.map((_, k) => this.picture(method, k));
    const profiles = SIDES.map((_, k) => this.canvas("rows", (...on) => this.paintProfile(method, k, ...on)));
    const aligned = this.canvas("rows", (...on) => this.paintAligned(method, ...on));
    const lines = this.canvas("lines", (...on) => this.paintLines(...on), "ck-lines");
    const captions = this.pictures.map(({ title, name, error }) => make("div", { class: "ck-caption" }, bold(title),
      name && make("bdi", { class: "ck-name", title: name }, name), error && span("ck-error", error)));
    const label = (text, title) => make("span", { class: "ck-small", title }, text);
    const rows = () => label("rows", "the largest value of each row of the map");
    this.parts = { shown, lines };
    return (this.plate = make("div", { class: "ck-stage" }, rows(), captions[0], span(), captions[1], rows(),
      label("M*", "both profiles cropped at t and resized to the same rows: equation 5"),
      profiles[0], shown[0], span(), shown[1], profiles[1], aligned, lines));
  }

  /** Several methods side by side. */
  multiples(side) {
    const figures = this.methods.map((method) => make("figure", { data: { method: method.name } },
      make("figcaption", {}, bold(method.title), method.target && span("ck-small", ` · ${method.target}`)),
      make("div", { class: "ck-two" }, SIDES.map((_, k) => this.picture(method, k))), this.remarks(method)));
    return (this.plate = make("div", { class: "ck-figures" }, figures, side));
  }

  remarks(method) {
    const untrained = !method.judges && "Judges nothing: its pair classifier was not trained.";
    return [this.distance(method), untrained && para("ck-plain", untrained), method.league && para("", method.league),
      noteOf(method.note)];
  }

  distance(method) {
    const text = make("output", { class: "ck-number" });
    text.draw = () => {
      const { t, distance, bounds } = this.rows(method);
      const rows = bounds.map(([first, last], k) => `${first + 1}–${last + 1} of ${method.grid[k][0]}`);
      text.textContent = `${distance.toFixed(4)} at t = ${t} (rows ${rows.join(" and ")})`;
      text.dataset.distance = distance;
    };
    this.painted.rows.push(text);
    return para("ck-small", "distance of the profiles: ", text);
  }

  rows(method) { return method.kept.of(this.state.threshold, () => equation5(method, this.state.threshold)); }

  picture(method, k) {
    const { name, error } = this.pictures[k], shows = error || method?.title || "no map";
    const canvas = this.canvas("maps", (...on) => this.paintPicture(method, k, ...on), "ck-picture", {
      data: { picture: SIDES[k] }, tabindex: 0, role: "img",
      "aria-label": `${SIDES[k]} picture ${name ?? ""}: ${shows}. Up and down arrows move a cell.`,
      onpointermove: (event) => this.moved(k, event), onpointerdown: (event) => this.pressed(k, event),
      onpointerup: () => this.released(), onpointercancel: () => this.clear(),
      onpointerleave: (event) => event.pointerType === "mouse" && this.point(null),
    });
    return Object.assign(canvas, { sheet: this, side: k });
  }

  canvas(piece, paint, cls, given = {}) {
    const canvas = canvasOf(paint, { class: cls, "aria-hidden": given.role ? null : "true", ...given });
    this.painted[piece].push(canvas);
    return canvas;
  }

  side(one, extra = this.viewer.controlsOf("pair")) {
    const bar = this.canvas("bar", (...on) => this.paintBar(...on), "ck-bar");
    return make("aside", { class: "ck-side" }, make("div", {},
      one && para("", bold(one.title), one.target && ` · ${one.target}`), one && this.remarks(one),
      numbersOf(this.pair.numbers),
      this.like && para("ck-small", `Likeness of cells: ${this.like.title}, ${this.like.score.toFixed(4)} in all.`),
      this.methods.length > 0 && bar), extra);
  }

  // -- what is under the pointer --

  grid(k) { return this.like?.grids[k] ?? this.methods[0]?.grid[k] ?? [16, 8]; }

  moved(k, event) {
    const rim = event.currentTarget.getBoundingClientRect(), [height, width] = this.grid(k);
    const x = clamp((event.clientX - rim.left) / rim.width, 0, 1), y = clamp((event.clientY - rim.top) / rim.height, 0, 1);
    if (event.type === "pointerdown") this.start = [x, y];
    const far = this.start && Math.hypot((x - this.start[0]) * rim.width, (y - this.start[1]) * rim.height) > 4;
    if (far || (this.start && this.box)) return this.stretch(k, [this.start[0], x], [this.start[1], y]);
    this.point([k, Math.min(Math.floor(y * height), height - 1) * width + Math.min(Math.floor(x * width), width - 1)]);
  }

  pressed(k, event) {
    event.currentTarget.setPointerCapture(event.pointerId);
    event.currentTarget.focus({ preventScroll: true });
    event.preventDefault();
    this.box = null;
    this.moved(k, event);
  }

  released() {
    if (this.start && this.box) this.finish();
    this.start = null;
  }

  stretch(k, xs, ys) {
    const [[x0, x1], [y0, y1]] = [xs, ys].map((ends) => ends.toSorted((a, b) => a - b));
    Object.assign(this, { box: { side: SIDES[k], x0, y0, x1, y1 }, hover: null });
    this.viewer.dirty("maps", "lines", "status");
  }

  /** A rectangle is drawn: Python hides it; without Python its share of the similarity is said. */
  finish() {
    this.hide(this.box, { hide_in: this.box.side });
    this.viewer.dirty("status");
  }

  hide(rectangle, more = {}) {
    this.viewer.ask({ ask: "set", changes: { rectangle, hide: "rectangle", tab: "what_if", ...more } });
  }

  clear() {
    const had = this.rectangle();
    Object.assign(this, { box: null, start: null, anchor: null, cursor: [null, null], hover: null });
    this.state.rectangle = null;
    if (had) this.hide(null);
    this.viewer.dirty("maps", "lines", "status");
  }

  point(hover, aloud = false) {
    if (String(hover) === String(this.hover)) return;
    this.hover = hover;
    this.viewer.aloud = aloud;
    this.viewer.dirty("maps", "lines", "status");
  }

  /** Keys on a picture: the cell under a cursor, a rectangle from it. Returns whether the key was one of these. */
  key(k, { key, shiftKey }) {
    const [height, width] = this.grid(k), old = this.cursor[k], cell = old ?? (height >> 1) * width + (width >> 1);
    const across = shiftKey || this.anchor != null ? { ArrowLeft: [0, -1], ArrowRight: [0, 1] } : {};
    const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], r: [0, 0], R: [0, 0], ...across }[key] ?? [];
    if (key === "Enter" && this.anchor != null) {
      this.anchor = null;
      this.finish();
      return true;
    }
    if (down === undefined) return false;
    const [row, column] = old == null ? [0, 0] : [down, right]; // the first key shows where the cursor is
    const at = [clamp(Math.floor(cell / width) + row, 0, height - 1), clamp((cell % width) + column, 0, width - 1)];
    this.cursor[k] = at[0] * width + at[1];
    if (key === "r" || key === "R") this.anchor = at;
    if (this.anchor == null) this.point([k, this.cursor[k]], true);
    else {
      const ends = [0, 1].map((axis) => [at[axis], this.anchor[axis]].toSorted((a, b) => a - b));
      const [ys, xs] = ends.map(([low, high], axis) => [low, high + 1].map((edge) => edge / this.grid(k)[axis]));
      this.stretch(k, xs, ys);
    }
    return true;
  }

  rectangle() {
    const found = this.box ?? this.state.rectangle;
    return found && { ...found, k: SIDES.indexOf(found.side) };
  }

  status() {
    if (this.hover) return this.cellWords(...this.hover);
    const box = this.rectangle();
    if (!box) return "";
    const share = this.like?.shares ? ` and ${percent(this.like.shareOf(box.k, box))} of the similarity` : "";
    const area = percent((box.x1 - box.x0) * (box.y1 - box.y0));
    return `Rectangle in the ${box.side} picture: ${area} of its area${share}.`;
  }

  cellWords(k, cell) {
    const place = (side, n) => {
      const [, width] = this.grid(side);
      return `${SIDES[side]} cell row ${Math.floor(n / width) + 1}, column ${(n % width) + 1}`;
    };
    const field = this.methods[0]?.fields[k], fits = field?.top > 0 && String(field.grid) === String(this.grid(k));
    const own = fits ? `; its map: ${(field.values[cell] / field.top).toFixed(2)} of the maximum` : "";
    if (!this.like || !this.state.correspondence) return `${place(k, cell)}${own}.`;
    const { best, value, total } = this.like.partners(k, cell), { score, shares } = this.like;
    const all = () => `${percent(value / score)} of the similarity (with all its partners ${percent(total / score)})`;
    const share = shares ? all() : value.toPrecision(4);
    return `${place(k, cell)}; best partner: ${place(1 - k, best)}, ${share}${own}.`;
  }

  // -- painting --

  paintPicture(method, k, context, width, height) {
    const { src, error } = this.pictures[k], { state } = this, picture = src && !error && image(src);
    Object.assign(context, { imageSmoothingEnabled: true, imageSmoothingQuality: "high", fillStyle: "#8c8c8c" });
    if (picture && picture.naturalWidth) context.drawImage(picture, 0, 0, width, height);
    else context.fillRect(0, 0, width, height);
    const pointed = this.like && state.correspondence && this.hover && this.hover[0] !== k;
    const lit = pointed ? this.like.partners(...this.hover) : null; // what the cell under the pointer is like, over here
    const field = lit?.field ?? method?.fields[k];
    if (field) {
      const both = state.scale === "shared" && !lit ? method.fields : [field];
      context.globalAlpha = state.opacity;
      context.drawImage(field.raster(state.colours, Math.max(...both.map(({ top }) => top))), 0, 0, width, height);
      context.globalAlpha = 1;
      if (state.contour && !lit) this.paintContour(field, context, width, height);
    }
    this.paintMarks(k, lit, context, width, height);
  }

  paintContour(field, context, width, height) {
    const ends = field.contour(this.state.threshold);
    context.beginPath();
    for (let n = 0; n < ends.length; n += 4) {
      context.moveTo(ends[n] * width, ends[n + 1] * height);
      context.lineTo(ends[n + 2] * width, ends[n + 3] * height);
    }
    for (const [lineWidth, strokeStyle] of [[3.4, "#000a"], [1.6, "#fff"]]) {
      Object.assign(context, { lineWidth, strokeStyle, lineCap: "round" });
      context.stroke();
    }
  }

  /** The cell under the pointer or its best partner, and the rectangle. */
  paintMarks(k, lit, context, width, height) {
    const cell = lit ? lit.best : this.hover?.[0] === k ? this.hover[1] : null, box = this.rectangle();
    if (cell != null) {
      const [rows, columns] = this.grid(k), [w, h] = [width / columns, height / rows];
      outline(context, (cell % columns) * w, Math.floor(cell / columns) * h, w, h, lit ? "#d55e00" : "#0072b2");
    }
    if (box?.k !== k) return;
    const rim = [box.x0 * width, box.y0 * height, (box.x1 - box.x0) * width, (box.y1 - box.y0) * height];
    context.fillStyle = "#7777";
    context.fillRect(...rim);
    outline(context, ...rim, "#222", [5, 4]);
  }

  paintProfile(method, k, context, width, height) {
    if (!method) return;
    const { t, profiles: { [k]: profile }, bounds: { [k]: [first, last] } } = this.rows(method);
    const { ink, faint, series } = this.viewer.palette, step = height / profile.length;
    const [foot, away] = k ? [0, 1] : [width, -1]; // bars grow away from the picture
    profile.forEach((value, row) => {
      Object.assign(context, { globalAlpha: row < first || row > last ? 0.3 : 1, fillStyle: series[k] });
      context.fillRect(foot, row * step + Math.min(1, step / 4), away * value * width, Math.max(step - 2, step / 2));
    });
    Object.assign(context, { globalAlpha: 1, strokeStyle: ink, lineWidth: 1.5 });
    context.setLineDash([4, 3]);
    stroke(context, [foot + away * t * width, 0, foot + away * t * width, height]);
    context.setLineDash([]);
    context.strokeStyle = faint;
    for (const row of [first, last + 1]) stroke(context, [0, row * step, width, row * step]);
  }

  paintAligned(method, context, width, height) {
    if (!method) return;
    const { aligned } = this.rows(method), { faint, series } = this.viewer.palette;
    const step = height / aligned[0].length, x = (value) => 4 + value * (width - 8);
    Object.assign(context, { strokeStyle: faint, lineWidth: 1, fillStyle: faint, globalAlpha: 0.5 });
    aligned[0].forEach((a, row) => context.fillRect(x(a), row * step, x(aligned[1][row]) - x(a), step));
    context.globalAlpha = 1;
    for (const value of [0, 1]) stroke(context, [x(value), 0, x(value), height]);
    aligned.forEach((profile, k) => {
      Object.assign(context, { strokeStyle: series[k], lineWidth: 2.2 });
      context.setLineDash(k ? [6, 3] : []);
      stroke(context, profile.flatMap((value, row) => [x(value), row * step, x(value), (row + 1) * step]));
    });
    context.setLineDash([]);
  }

  /** Over both pictures: the strongest cells that are each other's best partner, or the one under the pointer. */
  paintLines(context, width, height) {
    if (!this.like || !this.state.correspondence) return;
    const [rim, ...boxes] = [this.parts.lines, ...this.parts.shown].map((canvas) => canvas.getBoundingClientRect());
    const centre = (k, cell) => {
      const [rows, columns] = this.grid(k);
      const x = ((cell % columns) + 0.5) / columns, y = (Math.floor(cell / columns) + 0.5) / rows;
      return [boxes[k].left - rim.left + x * boxes[k].width, y * height];
    };
    let pairs = this.like.mutual.slice(0, LINES);
    if (this.hover) {
      const [k, cell] = this.hover, { best } = this.like.partners(k, cell);
      pairs = [k === 0 ? [cell, best, 1] : [best, cell, 1]];
    }
    const most = Math.max(...pairs.map(([, , share]) => share), 1e-9);
    for (const [i, j, share] of pairs.toReversed()) {
      const path = [...centre(0, i), ...centre(1, j)], line = 1 + 2 * (share / most);
      for (const [lineWidth, colour] of [[line + 1.6, "#0009"], [line, "#7fe7d8"]]) {
        Object.assign(context, { lineWidth, strokeStyle: colour, fillStyle: colour, lineCap: "round" });
        stroke(context, path);
      }
      for (const k of [0, 2]) {
        context.beginPath();
        context.arc(path[k], path[k + 1], 1.5 + line, 0, 2 * Math.PI);
        context.fill();
      }
    }
  }

  paintBar(context, width) {
    const { ink } = this.viewer.palette, { colours, scale } = this.state, { signed } = this.methods[0];
    const one = scale === "shared" ? "maximum of both maps = 1" : "each map's maximum = 1";
    ramp(signed ? "signed" : colours).forEach((colour, k) => {
      context.fillStyle = `rgb(${colour.map(Math.round)})`;
      context.fillRect((k * width) / 256, 0, width / 256 + 1, 10);
    });
    write(context, signed ? "against" : "0", 0, 14, "left", ink);
    write(context, one, width / 2, 14, "center", ink);
    write(context, signed ? "for" : "1", width, 14, "right", ink);
  }

  /** Sizes from the room there is: as tall as the window allows, never wider than the box. */
  layout() {
    const room = this.el.clientWidth, tall = this.viewer.pictureHeight();
    const aspects = this.pictures.map(({ width, height }) => clamp(width / height || 0.5, 0.2, 3));
    const profile = clamp(room * 0.05, 44, 84), gap = clamp(room * 0.05, 36, 90), aligned = clamp(room * 0.09, 84, 150);
    const across = this.parts ? room - 2 * profile - gap - aligned - 5 * 6 : 280;
    const height = Math.floor(clamp(Math.min(tall, across / sum(aspects)), 90, 900));
    if (this.parts) {
      const widths = [profile, height * aspects[0], gap, height * aspects[1], profile, aligned];
      this.plate.style.gridTemplateColumns = widths.map((w) => `${Math.floor(w)}px`).join(" ");
      this.plate.style.gridTemplateRows = `auto ${height}px`;
    } else this.painted.maps.forEach((canvas, n) => {
      canvas.style.height = `${height}px`;
      canvas.style.width = `${Math.floor(height * aspects[n % 2])}px`;
    });
  }

  draw(pieces) {
    for (const piece of pieces) for (const part of this.painted[piece] ?? []) (part.draw ?? (() => repaint(part)))();
  }
}

const KINDS = { // kind -> element; `valueOf` reads its value
  select: ({ options }) => make("select", {}, options.map(([value, text, title]) => make("option", { value, title }, text))),
  number: ({ min, max, step }) => make("input", { type: "number", min, max, step: step ?? "any" }),
  range: ({ min, max, step }) => make("input", { type: "range", min, max, step }),
  check: () => make("input", { type: "checkbox" }),
  text: ({ hint }) => make("input", { type: "text", placeholder: hint, maxlength: 300 }),
  button: ({ label }) => button({}, label),
};

function drawControl(viewer, about) {
  const { name, kind, label, hint, disabled } = about, input = KINDS[kind](about);
  input.dataset.control = name;
  Object.assign(input, { disabled: Boolean(disabled), title: clean(hint) });
  if (kind === "button") {
    input.addEventListener("click", () => viewer.press(about));
    return input;
  }
  const shown = kind === "range" && make("output");
  input.addEventListener(kind === "range" ? "input" : "change", () => viewer.change(name, valueOf(input, about)));
  input.put = (value) => {
    if (kind === "check") input.checked = Boolean(value);
    else if (kind === "range" || document.activeElement !== input) input.value = value ?? "";
    if (shown) shown.textContent = Number(value).toFixed(2);
  };
  input.put(name in viewer.state ? viewer.state[name] : about.value);
  return make("label", { class: "ck-control", title: hint }, make("span", {}, label), input, shown);
}

function valueOf(input, { kind, options }) {
  if (kind === "check") return input.checked;
  if (kind === "number" || kind === "range") return input.value === "" ? null : Number(input.value);
  return kind === "select" ? options[input.selectedIndex][0] : input.value; // its own value: a number stays one
}

/** A row of tiles; `open` is called with the one that was clicked. Tiles that stay are kept: nothing flickers. */
class Strip {
  constructor(viewer, open, about) {
    Object.assign(this, { viewer, open, tiles: new Map(), wheeled: 0 });
    [this.title, this.place, this.note] = [bold(), span("ck-small"), span("ck-note")];
    this.row = make("div", { class: "ck-tiles", role: "group", "aria-label": "gallery", onscroll: () => this.turn() });
    this.row.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.row.addEventListener("load", () => this.turn(), true); // pictures have their widths only now
    this.turns = [[-1, "‹", "page before"], [1, "›", "next page"]].map(([by, sign, label]) =>
      button({ class: "ck-turn", "aria-label": label, onclick: () => viewer.page(by, this) }, sign));
    this.el = make("section", { class: "ck-strip" }, make("header", {}, this.title, this.place, this.note),
      make("div", { class: "ck-run" }, this.turns[0], this.row, this.turns[1]));
    if (about) this.draw(about);
  }

  draw(about) {
    this.about = about;
    const { title, note, page, pages, tiles } = about, before = this.tiles;
    this.title.textContent = clean(title);
    this.note.textContent = clean(note);
    this.place.textContent = pages > 1 ? `page ${page + 1} of ${pages}` : "";
    this.tiles = new Map();
    const shown = tiles.map((tile, n) => {
      const key = [tile.pair ?? tile.gallery, tile.src, tile.query_src].join(" ");
      const kept = !this.tiles.has(key) && before.get(key);
      const el = kept || tileFor(this.open);
      this.tiles.set(this.tiles.has(key) ? `${key} ${n}` : key, el);
      return fillTile(el, tile);
    });
    const same = shown.length === this.row.children.length && shown.every((el, n) => el === this.row.children[n]);
    if (!same || !shown.length) this.row.replaceChildren(...(shown.length ? shown : [noteOf("No picture to show.")]));
    this.reveal();
    this.turn();
  }

  /** Scroll the row, and only the row, to the chosen tile. */
  reveal() {
    const { row } = this, now = row.querySelector("[aria-current=true]"), from = (now?.offsetLeft ?? 0) - row.scrollLeft;
    const outside = now && (from < 0 || from + now.offsetWidth > row.clientWidth);
    if (outside) row.scrollTo({ left: now.offsetLeft - row.clientWidth / 3 });
  }

  turn() { this.turns.forEach((turn, n) => { turn.disabled = !this.viewer.canPage(n ? 1 : -1, this); }); }

  wheel(event) {
    const by = Math.sign(event.deltaY || event.deltaX);
    if (!by || !this.viewer.canPage(by, this)) return;
    event.preventDefault();
    if (event.timeStamp - this.wheeled < 250) return;
    this.wheeled = event.timeStamp;
    this.viewer.page(by, this);
  }
}

/** An empty tile. A listener keeps the scope it is made in: in a Strip's `draw` that would be all tiles ever shown. */
const tileFor = (open) => button({ class: "ck-tile", onclick: ({ currentTarget }) => open(currentTarget.about) });

function fillTile(el, tile) {
  const { status, rank, caption, distance, name, chosen, pinned } = tile;
  const sources = [tile.query_src, tile.src].filter((src) => src != null);
  if (String(el.drawn) !== String(sources)) {
    const thumb = (src) => (src ? make("img", { src, alt: "", draggable: "false" }) : span("ck-none", "cannot be read"));
    el.replaceChildren(span("ck-thumbs", sources.map(thumb)), span("ck-label"));
    el.drawn = sources;
  }
  const said = [rank && `rank ${rank}`, words(status), caption, distance, name, pinned && "pinned"].filter(Boolean);
  el.about = tile;
  Object.assign(el.dataset, { tile: tile.pair ?? tile.gallery ?? "", status });
  Object.assign(el, { title: clean([caption, name].filter(Boolean).join("\n")), ariaLabel: clean(said.join(", ")) });
  el.ariaCurrent = String(Boolean(chosen));
  el.lastChild.replaceChildren(bold([glyph(status), rank, pinned && "⚲"].filter(Boolean).join(" ")), " ", clean(distance));
  return el;
}

const TABS = {
  pair: ["Pair", (viewer, pair) => [viewer.sheet(pair)]],
  compare: ["Compare", drawCompare],
  failures: ["Failures", drawFailures],
  what_if: ["What if", drawWhatIf],
  notes: ["Notes and export", drawNotes],
};

const stripsOf = (viewer, found) => found.filter(filled).map((about) => new Strip(viewer, viewer.openGallery, about));

function drawCompare(viewer, { title, left, right, table = [], note }) {
  const strips = stripsOf(viewer, [left, right]), [head = [], ...rows] = table;
  const tiles = [left, right].map((strip) => strip?.tiles ?? []);
  const places = tiles.map((listed) => new Map(listed.map(({ gallery }, k) => [gallery, k])));
  const lines = [...new Map(tiles.flat().map(({ gallery, status }) => [gallery, status]))].map(([gallery, status]) => (
    { from: places[0].get(gallery), to: places[1].get(gallery), status }));
  const slopes = canvasOf((context, width, height) => paintSlopes(viewer, slopes, strips, lines, context, height),
    { class: "ck-slopes", role: "img", "aria-label": `${lines.length} lines join the places of the same picture` });
  viewer.canvases.push(slopes);
  strips.forEach((strip) => strip.row.addEventListener("scroll", () => repaint(slopes)));
  return [viewer.controlsOf("compare"), make("h3", {}, title), strips[0]?.el, slopes, strips[1]?.el, noteOf(note),
    rows.length > 0 && make("table", {}, make("tr", {}, head.map((text) => make("th", { scope: "col" }, text))),
      rows.map((row) => make("tr", {}, row.map((text) => make("td", {}, text)))))];
}

/** From a picture's place on the upper strip to its place on the lower one; a short stub where it is not there. */
function paintSlopes(viewer, canvas, strips, lines, context, height) {
  const { left } = canvas.getBoundingClientRect(), style = getComputedStyle(viewer.root);
  const middle = (strip, place) => {
    const box = strip?.row.children[place]?.getBoundingClientRect();
    return box && box.left + box.width / 2 - left;
  };
  for (const { from, to, status } of lines) {
    const [a, b] = [middle(strips[0], from), middle(strips[1], to)], right = status === "right";
    const strokeStyle = style.getPropertyValue(`--${status.replace(" ", "-")}`) || viewer.palette.ink;
    Object.assign(context, { strokeStyle, lineWidth: right ? 2.4 : 1.4 });
    context.setLineDash(right ? [] : [5, 3]);
    if (a != null) stroke(context, [a, 2, b ?? a, b == null ? height * 0.3 : height - 2]);
    else if (b != null) stroke(context, [b, height * 0.7, b, height - 2]);
  }
}

function drawFailures(viewer, { tiles = [], histograms = [], note }) {
  const shown = tiles.map((tile) => fillTile(tileFor((about) => viewer.openQuery(about)), tile));
  const charts = make("div", { class: "ck-histograms" }, histograms.map((about) => histogram(viewer, about)));
  const grid = tiles.length ? make("div", { class: "ck-grid" }, shown) : noteOf("No query fits.");
  return [viewer.controlsOf("failures"), charts, noteOf(note), grid];
}

/** Bars with a range that one drags, or types. */
function histogram(viewer, { name, label, edges, counts, range }) {
  const [low, high] = [edges[0], edges.at(-1)], most = Math.max(...counts, 1), wide = high - low || 1;
  let [drawn, start] = [range, null];
  const tell = (ends) => {
    const { [name]: own, ...ranges } = viewer.state.ranges ?? {};
    viewer.ask({ ask: "set", changes: { ranges: ends ? { ...ranges, [name]: ends } : ranges } });
  };
  const at = (event) => low + clamp(event.offsetX / event.target.clientWidth, 0, 1) * wide;
  const paint = (context, width, height) => counts.forEach((count, k) => {
    const [a, b] = [edges[k], edges[k + 1]], middle = (a + b) / 2, tall = (count / most) * height;
    context.fillStyle = viewer.palette[!drawn || (middle >= drawn[0] && middle <= drawn[1]) ? "accent" : "faint"];
    context.fillRect(((a - low) / wide) * width + 0.5, height - tall, ((b - a) / wide) * width - 1, tall);
  });
  const canvas = canvasOf(paint, { class: "ck-histogram", role: "img", "aria-label": `${label}: ${counts.join(", ")}`,
    onpointerdown(event) {
      start = at(event);
      canvas.setPointerCapture(event.pointerId);
    },
    onpointermove(event) {
      if (start == null) return;
      drawn = [start, at(event)].toSorted((a, b) => a - b);
      repaint(canvas);
    },
    onpointerup(event) {
      tell(Math.abs(at(event) - start) > wide / 200 ? drawn : null);
      start = null;
    } });
  viewer.canvases.push(canvas);
  const ends = (range ?? [low, high]).map((end, k, all) => make("input", { type: "number", step: "any",
    value: Number(end.toPrecision(4)), "aria-label": `${label}, ${k ? "to" : "from"}`, data: { control: `${name}-${k}` },
    onchange: (event) => tell(all.with(k, Number(event.target.value))) }));
  return make("figure", {}, make("figcaption", {}, label), canvas, make("div", { class: "ck-ends" }, ends[0],
    range && button({ data: { control: `${name}-all` }, onclick: () => tell(null) }, "all"), ends[1]));
}

function drawWhatIf(viewer, { pair, before, after, control, numbers, note }) {
  const held = filled(control) && [bold(control.title), numbersOf(control.numbers)];
  const said = make("div", {}, numbersOf(numbers), held, noteOf(note)), strips = stripsOf(viewer, [before, after]);
  return [viewer.controlsOf("what_if"), filled(pair) ? viewer.sheet(pair, said) : said, strips.map(({ el }) => el)];
}

function drawNotes(viewer, { text, tags = [], saved, list = [], exports = [] }) {
  const area = make("textarea", { rows: 4, maxlength: 4000, "aria-label": "note", data: { control: "note" } });
  area.value = text ?? ""; // as it was written
  const labels = make("input", { value: tags.join(", "), placeholder: "tags, with commas", "aria-label": "tags" });
  const tagged = () => labels.value.split(",").map((tag) => tag.trim()).filter(Boolean);
  const save = button({ onclick: () => viewer.ask({ ask: "note", text: area.value, tags: tagged() }) }, "Save the note");
  const open = ({ query }) => viewer.ask({ ask: "set", changes: { query, tab: "pair" } });
  const file = (kind) => viewer.ask({ ask: "export", kind, view: "pair" });
  const files = exports.map(([kind, label]) => button({ onclick: () => file(kind) }, label));
  const entries = list.map((note) => make("li", {},
    button({ onclick: () => open(note) }, `query ${note.query}`), " ", bold(note.tags?.join(", ")), " ", note.text));
  return [viewer.controlsOf("notes"), make("div", { class: "ck-write" }, area, labels, save, span("ck-note", saved)),
    make("div", { class: "ck-controls" }, files), make("ul", { class: "ck-list" }, entries)];
}

const SERIES = { light: ["#332288", "#aa4499"], dark: ["#b9a7ff", "#ec95d8"] }; // query and gallery in the profiles
const STEPS = { // keys on a tile or a picture
  ArrowLeft: (viewer) => viewer.step(-1), ArrowRight: (viewer) => viewer.step(1),
  PageUp: (viewer) => viewer.page(-1), PageDown: (viewer) => viewer.page(1),
};

const PIECES = { // what is drawn as a whole, in this order -> by which method; the rest are canvases of the sheets
  theme: "theme", tabs: "drawTabs", controls: "drawControls", values: "drawValues", strip: "drawStrip", notice: "drawNotice",
  body: "drawBody", size: "resize", status: "say",
};

class Viewer {
  constructor(el, view, host) {
    Object.assign(this, { el, host, view: { ...view }, canvases: [], sheets: [], pending: {}, waiting: new Set() });
    this.state = { ...DEFAULTS, ...view.state };
    this.build();
    this.listen();
    if (view.pairs?.length) this.choose(0);
    this.dirty("theme", "tabs", "controls", "strip", "notice", "body");
    this.flush();
  }

  build() {
    this.bar = make("div", { class: "ck-bar-top" });
    this.tabs = make("nav", { role: "tablist", "aria-label": "views" });
    this.strip = new Strip(this, (tile) => (tile.pair != null ? this.choose(tile.pair) : this.openGallery(tile)));
    this.body = make("div", { class: "ck-tab", role: "tabpanel" });
    this.notice = make("div");
    const empty = "Point at a picture, or touch it; drag to draw a rectangle. Press ? for keys.";
    this.line = make("p", { class: "ck-status", data: { empty } });
    this.live = make("div", { class: "ck-hidden", "aria-live": "polite" });
    this.help = make("dialog", { class: "ck-help" }, make("h3", {}, "Keys"), make("dl", {}, KEYS.map(([key, what]) =>
      [make("dt", {}, key), make("dd", {}, what)])), button({ onclick: () => this.help.close() }, "Close"));
    const ask = button({ class: "ck-ask", "aria-label": "keys", onclick: () => this.help.showModal() }, "?");
    const about = { class: "casnkit", role: "region", "aria-label": "pair viewer" };
    this.root = make("div", { ...about, data: { lmSuppressShortcuts: "true", status: "" } }, make("div", { class: "ck-top" },
      this.tabs, this.bar, ask), this.notice, this.strip.el, this.body, this.line, this.live, this.help);
    this.el.append(this.root);
  }

  listen() {
    this.watch = new AbortController();
    const { signal } = this.watch, again = () => this.dirty("theme"), size = () => this.dirty("size");
    this.root.addEventListener("keydown", (event) => this.key(event), { signal });
    this.root.addEventListener("keyup", (event) => event.stopPropagation(), { signal });
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.dark.addEventListener("change", again, { signal });
    window.addEventListener("resize", size, { signal });
    this.observers = [new ResizeObserver(size), new MutationObserver(again)];
    this.observers[0].observe(this.root);
    this.observers[1].observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  }

  destroy() {
    this.gone = true;
    this.watch.abort();
    this.observers.forEach((observer) => observer.disconnect());
    clearTimeout(this.timer);
    cancelAnimationFrame(this.frame);
    this.root.remove();
  }

  // -- what changes, and who is told --

  ask(message) { this.host?.ask(message); }

  /** A section has a new value. */
  update(section, value) {
    this.view[section] = value;
    if (section === "state") this.follow(value);
    else if (section === "busy" || section === "error") this.dirty("notice");
    else if (section === this.state.tab) this.dirty("body", "tabs");
    else this.dirty("tabs", section); // a strip, controls; other sections wait until their tab is opened
  }

  /** Python's state, but for what was changed here in the meantime. */
  follow(value) {
    const before = this.state, also = { tab: ["tabs", "body"], rectangle: ["maps", "status"] };
    this.state = { ...DEFAULTS, ...value, ...this.pending };
    const changed = Object.keys(this.state).filter((name) => String(this.state[name]) !== String(before[name]));
    if (changed.includes("rectangle")) this.sheets.forEach((sheet) => { sheet.box = null; });
    this.dirty("values", ...changed.flatMap((name) => LOOK[name] ?? also[name] ?? []));
  }

  /** A control has a new value: drawn at once where the browser can, else asked for. */
  change(name, value) {
    if (!(name in LOOK)) return this.ask({ ask: "set", changes: { [name]: value } });
    this.state = { ...this.state, [name]: value };
    this.pending[name] = value;
    this.dirty("values", ...LOOK[name]);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.ask({ ask: "set", changes: this.pending });
      this.pending = {};
    }, WAIT);
  }

  press({ name, value }) {
    if (name === "png") return this.save();
    const changes = name in this.state ? { [name]: value } : value; // of its own field, or of several
    this.ask(changes ? { ask: "set", changes } : { ask: name });
  }

  /** Draw pieces again, all together, before the next frame. */
  dirty(...pieces) {
    pieces.forEach((piece) => this.waiting.add(piece));
    if (!this.frame && !this.gone) this.frame = requestAnimationFrame(() => this.flush());
  }

  flush() {
    cancelAnimationFrame(this.frame);
    const pieces = this.waiting;
    [this.frame, this.waiting] = [null, new Set()];
    for (const [piece, draw] of Object.entries(PIECES)) if (pieces.has(piece)) this[draw](pieces);
    this.sheets.forEach((sheet) => sheet.draw(pieces));
  }

  theme(pieces) {
    const page = document.body.dataset.jpThemeLight, { theme, projector } = this.state;
    const dark = theme === "auto" ? (page ? page === "false" : this.dark.matches) : theme === "dark";
    Object.assign(this.root.dataset, { theme: dark ? "dark" : "light", projector: String(Boolean(projector)) });
    const style = getComputedStyle(this.root), of = (name) => style.getPropertyValue(name).trim();
    const series = SERIES[dark ? "dark" : "light"];
    this.palette = { ink: of("--ink"), faint: of("--line"), accent: of("--accent"), series };
    pieces.add("size");
  }

  resize() {
    if (!this.palette?.ink) this.theme(new Set()); // the style sheet came after the first frame
    this.sheets.forEach((sheet) => {
      sheet.layout();
      sheet.draw(Object.keys(sheet.painted));
    });
    this.canvases.forEach(repaint);
    this.strip.turn();
  }

  pictureHeight() {
    const { tab, projector } = this.state, above = this.body.offsetTop;
    if (tab !== "pair") return projector ? 420 : 280;
    return clamp((projector ? 0.98 : 0.86) * window.innerHeight - above - 150, 200, projector ? 900 : 640);
  }

  say() {
    const sheet = this.sheets.find((one) => one.hover || one.rectangle()), text = sheet?.status() ?? "";
    this.root.dataset.status = this.line.textContent = text;
    if (this.aloud || !sheet?.hover) this.live.textContent = text; // the mouse is not read out, the keyboard is
    this.aloud = false;
  }

  // -- the pieces --

  tabNames() {
    const { controls = {} } = this.view;
    return Object.keys(TABS).filter((name) => name === "pair" || name in controls || filled(this.view[name]));
  }

  drawTabs() {
    const names = this.tabNames(), { tab } = this.state;
    this.tabs.hidden = names.length < 2;
    this.root.dataset.tab = tab;
    const drawn = names.map((name) => button({ role: "tab", data: { control: `tab-${name}` }, tabindex: name === tab ? 0 : -1,
      "aria-selected": String(name === tab), onclick: () => this.openTab(name) }, TABS[name][0]));
    keepFocus(this.tabs, () => this.tabs.replaceChildren(...drawn));
  }

  drawControls() {
    keepFocus(this.root, () => {
      this.bar.replaceChildren(this.controlsOf("") || "");
      const box = this.body.querySelector(".ck-controls[data-of]");
      box?.replaceWith(this.controlsOf(box.dataset.of) || "");
    });
  }

  drawValues() {
    for (const input of this.root.querySelectorAll("[data-control]")) {
      if (input.dataset.control in this.state) input.put?.(this.state[input.dataset.control]);
    }
  }

  controlsOf(tab) {
    const own = this.view.controls?.[tab] ?? [], all = tab === "pair" ? [...own, ...LOOKS] : own;
    const found = all.map((about) => drawControl(this, about));
    return found.length > 0 && make("div", { class: "ck-controls", data: { of: tab } }, found);
  }

  drawStrip() {
    const { strip } = this.view;
    this.strip.el.hidden = !filled(strip);
    if (filled(strip)) keepFocus(this.strip.el, () => this.strip.draw(strip));
  }

  /** The open tab. A pair is put in place once its pictures are decoded, so that nothing flashes. */
  async drawBody() {
    const { tab } = this.state, section = this.view[tab], pair = tab === "pair" ? section : section?.pair;
    const turn = (this.turn = (this.turn ?? 0) + 1);
    if (filled(pair)) await decoded([pair.query?.src, pair.gallery?.src]);
    if (turn !== this.turn || this.gone) return;
    [this.sheets, this.canvases] = [[], []];
    const drawn = filled(section) ? TABS[tab][1](this, section) : [noteOf("Nothing to show here yet.")];
    keepFocus(this.root, () => this.body.replaceChildren(...drawn.flat().filter(Boolean)));
    this.dirty("size", "status");
  }

  sheet(pair, extra) {
    this.sheets.push(new Sheet(this, pair, extra));
    return this.sheets.at(-1).el;
  }

  drawNotice() {
    const { busy = {}, error = {} } = this.view;
    const progress = make("progress", { max: busy.total || 1, value: busy.done || 0 });
    const cancel = busy.can_cancel && button({ onclick: () => this.ask({ ask: "cancel" }) }, "Cancel");
    const done = ` ${busy.done ?? 0} of ${busy.total ?? "?"} `;
    const bar = busy.what && make("p", { role: "status" }, busy.what, " ", progress, done, cancel);
    const wrong = error.text && make("p", { class: "ck-error", role: "alert" }, error.text);
    this.notice.replaceChildren(...[wrong, bar].filter(Boolean));
  }

  // -- opening things --

  openTab(tab) {
    this.ask({ ask: "set", changes: { tab } });
    this.state = { ...this.state, tab };
    this.dirty("tabs", "body");
  }

  openGallery = ({ gallery }) => this.ask({ ask: "set", changes: { gallery } });

  openQuery({ query, gallery }) {
    this.ask({ ask: "set", changes: { query, ...(gallery != null && { gallery }), tab: "pair" } });
  }

  /** On a page: show one of its pairs. */
  choose(number) {
    const { pairs } = this.view, now = (this.chosen = clamp(number, 0, pairs.length - 1));
    const tiles = pairs.map(({ pair: { query, gallery }, ...tile }, n) =>
      ({ src: gallery.src, query_src: query.src, ...tile, pair: n, chosen: n === now }));
    this.view.strip = { title: "Pairs", page: 0, pages: 1, note: `${now + 1} of ${pairs.length}`, tiles };
    this.view.pair = pairs[now].pair;
    this.dirty("strip", "body");
  }

  step(by) { return this.view.pairs ? this.choose(this.chosen + by) : this.ask({ ask: "step", by }); }

  canPage(by, { row, about: { page = 0, pages = 1 } = {} }) {
    if (this.view.pairs) return by < 0 ? row.scrollLeft > 1 : row.scrollLeft + row.clientWidth < row.scrollWidth - 1;
    return page + by >= 0 && page + by < pages;
  }

  page(by, strip = this.strip) {
    if (!this.canPage(by, strip)) return;
    if (this.view.pairs) strip.row.scrollBy({ left: by * strip.row.clientWidth * 0.9 });
    else this.ask({ ask: "set", changes: { page: strip.about.page + by } });
  }

  /** Keys stay inside the box: JupyterLab never sees them. */
  key(event) {
    event.stopPropagation();
    const { target, key } = event, tab = target.closest("[role=tab]");
    if (event.ctrlKey || event.metaKey || event.altKey || target.matches("input, select, textarea")) return;
    if (tab && key.startsWith("Arrow")) this.turnTab(key === "ArrowLeft" || key === "ArrowUp" ? -1 : 1);
    else if (target.sheet?.key(target.side, event)) event.preventDefault();
    else if (key === "Escape") this.sheets.forEach((sheet) => sheet.clear());
    else if (key === "?") this.help.showModal();
    else if (target.matches("canvas, .ck-tile") && key in STEPS) STEPS[key](this);
    else return;
    event.preventDefault();
  }

  turnTab(by) {
    const names = this.tabNames();
    this.openTab(names[(names.indexOf(this.state.tab) + by + names.length) % names.length]);
    this.flush();
    this.tabs.querySelector("[aria-selected=true]").focus();
  }

  /** The open tab as a file: what is on screen, at twice its size; the name says what it is. */
  save() {
    const { methods = [], query, gallery } = this.view.pair ?? {}, maps = methods.map((method) => method.name);
    const parts = ["casnkit", this.state.network, query?.title, gallery?.title, ...maps].filter(Boolean).join("-");
    const name = `${parts.normalize("NFKD").replace(/[^\w.]+/g, "-").slice(0, 120)}.png`;
    exported(this.body, this.root).toBlob((blob) => download(name, blob), "image/png");
  }
}

/** Do something that makes elements anew, and give the focus back to the one with the same name. */
function keepFocus(within, work) {
  const had = within.contains(document.activeElement) ? document.activeElement : null;
  const name = ["control", "tile", "picture"].find((key) => had?.dataset[key] !== undefined);
  const chosen = had?.ariaCurrent === "true";
  work();
  if (!had || (had.isConnected && !chosen)) return;
  const same = (el) => el.dataset[name] === had.dataset[name];
  const again = !chosen && name && [...within.querySelectorAll(`[data-${name}]`)].find(same);
  (again || within.querySelector("[aria-current=true]") || within.querySelector("button"))?.focus({ preventScroll: true });
}

function download(name, blob) {
  const link = make("a", { download: name, href: URL.createObjectURL(blob) });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

const QUIET = ".ck-controls, .ck-hidden, .ck-turn, input, select, textarea"; // no part of it

/** An element and all in it: boxes, pictures, canvases by their own paint functions, words as words. */
function exported(element, root) {
  const rim = element.getBoundingClientRect(), [width, height] = [rim.width, rim.height].map((x) => Math.ceil(2 * x));
  const canvas = make("canvas", { width, height }), context = canvas.getContext("2d");
  const accepts = (node) => (node.matches?.(QUIET) ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT);
  context.scale(2, 2);
  context.fillStyle = getComputedStyle(root).backgroundColor;
  context.fillRect(0, 0, rim.width, rim.height);
  context.translate(-rim.left, -rim.top);
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT, accepts);
  while (walker.nextNode()) (walker.currentNode instanceof Text ? drawWords : drawBox)(context, walker.currentNode);
  return canvas;
}

function drawBox(context, el) {
  const { left, top, width, height } = el.getBoundingClientRect(), style = getComputedStyle(el);
  const lineWidth = parseFloat(style.borderTopWidth);
  context.save();
  context.translate(left, top);
  if (el.paint && width) el.paint(context, width, height);
  else if (el instanceof HTMLImageElement) context.drawImage(el, 0, 0, width, height);
  if (lineWidth > 0 && style.borderBottomStyle === style.borderTopStyle) {
    Object.assign(context, { strokeStyle: style.borderTopColor, lineWidth });
    context.setLineDash({ dashed: [6, 4], dotted: [2, 2] }[style.borderTopStyle] ?? []);
    context.strokeRect(lineWidth / 2, lineWidth / 2, width - lineWidth, height - lineWidth);
  }
  context.restore();
}

function drawWords(context, text) {
  const { parentElement: parent } = text, { left, top, width, height } = parent.getBoundingClientRect();
  const style = getComputedStyle(parent), range = document.createRange();
  const font = `${style.fontStyle} ${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
  Object.assign(context, { fillStyle: style.color, font, textBaseline: "middle", textAlign: "left" });
  context.save();
  context.beginPath();
  context.rect(left, top, width + 1, height);
  context.clip(); // a long name is cut where the screen cuts it
  for (const { 0: word, index } of text.data.matchAll(/\S+/g)) {
    range.setStart(text, index);
    range.setEnd(text, index + word.length);
    const box = range.getBoundingClientRect();
    if (box.width) context.fillText(word, box.left, box.top + box.height / 2);
  }
  context.restore();
}

/** Draw a view in an element. `host`: {ask(message)}, or null on a page of its own. */
export function mount(el, view, host = null) {
  const viewer = new Viewer(el, view, host);
  return { viewer, update: (section, value) => viewer.update(section, value), destroy: () => viewer.destroy() };
}

export default {
  render({ model, el }) {
    const view = Object.fromEntries(SECTIONS.map((name) => [name, model.get(name) ?? {}]));
    const viewer = mount(el, view, { ask: (message) => model.send(message) });
    const heard = SECTIONS.map((name) => [`change:${name}`, () => viewer.update(name, model.get(name) ?? {})]);
    const save = ({ name, mime }, [bytes]) => download(name, new Blob([bytes], { type: mime }));
    heard.push(["msg:custom", ({ download: file }, buffers) => file && save(file, buffers)]);
    heard.forEach(([event, answer]) => model.on(event, answer));
    return () => {
      heard.forEach(([event, answer]) => model.off(event, answer));
      viewer.destroy();
    };
  },
};
