// Waterfalls of one fibre, one below the other, that share what part of time and channels they show.
import { clock, canvas, COLOUR, element, get, image, json, ticks, US, VIRIDIS } from "./common.js";

export const LAYERS = { power: "Power, spreads above usual", contractor: "The contractor’s probability of a threat", ours: "Our score, spreads above usual" };
// From the byte of a cell to a step of the colours; 0 is nothing.
const spreads = (low, high) => code => ((code - 1) / 8 - 2 - low) / (high - low);
const SCALE = { power: spreads(-1, 10), contractor: code => (code - 1) / 254, ours: spreads(-1, 10) };
const LEFT = 62, RIGHT = 44, TOP = 4, BOTTOM = 34;
const TABLES = Object.fromEntries(Object.entries(SCALE).map(([layer, scale]) => [layer, Uint32Array.from({ length: 256 }, (_, code) =>
  (code ? VIRIDIS[Math.max(0, Math.min(255, Math.round(scale(code) * 255)))] : 0))]));

export class Waterfalls {
  // `fibre` as the API tells of it; `on` is called with what happens: view(view), pick(row, event), cursor(words).
  constructor(host, day, fibre, { layers = Object.keys(LAYERS), height = 190, zone = "UTC", on = {}, view = null } = {}) {
    Object.assign(this, { host, day, zone, on, boxes: [], chosen: "", pictures: {}, panels: {} });
    this.setFibre(fibre, view);
    layers.forEach((layer, i) => this.addPanel(layer, height, i === layers.length - 1));
    this.load();
  }

  setFibre(fibre, view = null) {
    this.fibre = fibre;
    const channels = fibre.channels.length ? fibre.channels : [0, 1];
    this.whole = { from: fibre.start, to: fibre.end, first: channels[0] - 0.5, last: channels.at(-1) + 0.5 };
    this.view = view ? { ...view } : { ...this.whole };
    this.pictures = {};
  }

  addPanel(layer, height, last) {
    const figure = element("figure", { class: "panel" }, element("figcaption", {}, LAYERS[layer]));
    this.host.append(figure);
    const label = `Waterfall: ${LAYERS[layer]}. Time to the right, metres upwards. The alarms are in the table below.`;
    const panel = canvas(figure, height + (last ? 14 : 0), label, (pen, width, tall) => this.draw(layer, pen, width, tall, last));
    panel.made.tabIndex = 0;
    panel.made.setAttribute("aria-describedby", "keys");
    panel.bottom = last ? BOTTOM : BOTTOM - 14;
    this.panels[layer] = panel;
    this.listen(panel);
  }

  // -- from pixels to time and channel, and back

  x(us, width) { return LEFT + (us - this.view.from) / (this.view.to - this.view.from) * (width - LEFT - RIGHT); }
  y(channel, tall, bottom) { return tall - bottom - (channel - this.view.first) / (this.view.last - this.view.first) * (tall - TOP - bottom); }
  time(x, width) { return this.view.from + (x - LEFT) / (width - LEFT - RIGHT) * (this.view.to - this.view.from); }
  channel(y, tall, bottom) { return this.view.first + (tall - bottom - y) / (tall - TOP - bottom) * (this.view.last - this.view.first); }

  metre(channel) {
    const { channels, metres } = this.fibre;
    let k = channels.findIndex(c => c >= channel);
    if (k < 0) k = channels.length - 1;
    if (k === 0) k = 1;
    const [a, b, m, n] = [channels[k - 1], channels[k], metres[k - 1], metres[k]];
    if (m == null || n == null) return null;
    return m + (channel - a) / (b - a) * (n - m);
  }

  // -- what is shown

  show(view) {
    const least = US, narrow = 2, { whole } = this;
    let { from, to, first, last } = { ...this.view, ...view };
    if (to - from < least) { const middle = (from + to) / 2; from = middle - least / 2; to = middle + least / 2; }
    if (last - first < narrow) { const middle = (first + last) / 2; first = middle - narrow / 2; last = middle + narrow / 2; }
    const span = Math.min(to - from, whole.to - whole.from), wide = Math.min(last - first, whole.last - whole.first);
    from = Math.min(Math.max(from, whole.from), whole.to - span);
    first = Math.min(Math.max(first, whole.first), whole.last - wide);
    this.view = { from, to: from + span, first, last: first + wide };
    this.on.view?.(this.view);
    this.paint();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.load(), 40);
  }

  zoom(factor, at = {}) {
    const { from, to, first, last } = this.view;
    const t = at.time ?? (from + to) / 2, c = at.channel ?? (first + last) / 2;
    this.show({ from: t - (t - from) * factor, to: t + (to - t) * factor, first: c - (c - first) * factor, last: c + (last - c) * factor });
  }

  move(time, channels) {
    const { from, to, first, last } = this.view, t = (to - from) * time, c = (last - first) * channels;
    this.show({ from: from + t, to: to + t, first: first + c, last: last + c });
  }

  around(row) {
    const time = Math.max((row.end - row.start) * 2, 20 * US), wide = Math.max((row.last - row.first + 1) * 2, 8);
    this.show({ from: row.start - time, to: row.end + time, first: row.first - wide, last: row.last + wide });
  }

  async load() {
    this.stop?.abort();
    this.stop = new AbortController();
    const { signal } = this.stop, { view, fibre } = this, ratio = window.devicePixelRatio || 1;
    const window_ = { fibre: fibre.name, from: Math.floor(view.from), to: Math.ceil(view.to), first: Math.ceil(view.first), last: Math.floor(view.last) };
    if (window_.last < window_.first) window_.last = window_.first;
    const one = async layer => {
      const made = this.panels[layer].made;
      const size = { width: Math.round(made.clientWidth * ratio), height: Math.round(made.clientHeight * ratio) };
      const answer = await get(`days/${this.day}/waterfall`, { ...window_, layer, ...size }, { signal });
      const head = JSON.parse(answer.headers.get("x-picture")), codes = new Uint8Array(await answer.arrayBuffer());
      const table = TABLES[layer];
      this.pictures[layer] = { ...head, cells: image(head.rows, head.columns, i => table[codes[i]]) };
      this.panels[layer].paint();
    };
    const boxes = async () => {
      const found = await json(`days/${this.day}/boxes`, window_, { signal });
      this.boxes = found.boxes;
      this.on.boxes?.(found.boxes.length, found.total);
      this.paint();
    };
    try {
      await Promise.all([...Object.keys(this.panels).map(one), boxes()]);
      this.host.dataset.loaded = JSON.stringify(window_);
    } catch (error) {
      if (error.name !== "AbortError") this.on.cursor?.(error.message);
    }
  }

  paint() { Object.values(this.panels).forEach(panel => panel.paint()); }

  draw(layer, pen, width, tall, last) {
    const bottom = last ? BOTTOM : BOTTOM - 14, { view } = this;
    const inner = [LEFT, TOP, width - LEFT - RIGHT, tall - TOP - bottom];
    pen.clearRect(0, 0, width, tall);
    pen.save();
    pen.beginPath();
    pen.rect(...inner);
    pen.fillStyle = "#fff";
    pen.fill();
    pen.clip();
    const picture = this.pictures[layer];
    if (picture) {
      pen.imageSmoothingEnabled = false;
      const x0 = this.x(picture.start, width), x1 = this.x(picture.start + picture.columns * picture.step, width);
      const low = picture.first_channel - 0.5;
      const y0 = this.y(low + picture.rows * picture.channel_step, tall, bottom), y1 = this.y(low, tall, bottom);
      pen.drawImage(picture.cells, x0, y0, x1 - x0, y1 - y0);
    }
    for (let i = this.boxes.length - 1; i >= 0; i--) {  // the rarest on top
      const [start, end, first, lastChannel, side, agreement, , row] = this.boxes[i];
      if (layer !== "power" && (side === "contractor") === (layer === "ours")) continue;
      const x = this.x(start, width), y = this.y(lastChannel + 0.5, tall, bottom);
      const w = Math.max(3, this.x(end, width) - x), h = Math.max(3, this.y(first - 0.5, tall, bottom) - y);
      const chosen = row && row === this.chosen, own = side === "below" ? COLOUR.below : COLOUR[agreement];
      for (const [colour, thick] of [["#fff", chosen ? 6 : 3.5], [chosen ? "#d00" : own ?? "#555", chosen ? 3 : 1.7]]) {
        pen.setLineDash(side === "below" && colour !== "#fff" ? [4, 3] : []);  // no alarm
        pen.strokeStyle = colour;
        pen.lineWidth = thick;
        pen.strokeRect(x, y, w, h);
      }
    }
    pen.setLineDash([]);
    if (this.drag) {
      const { x0, y0, x1, y1, panel } = this.drag;
      pen.fillStyle = "rgb(255 255 255 / 35%)";
      pen.strokeStyle = "#24303d";
      pen.lineWidth = 1;
      const box = panel === this.panels[layer] ? [x0, y0, x1 - x0, y1 - y0] : [x0, TOP, x1 - x0, tall];
      pen.fillRect(...box);
      pen.strokeRect(...box);
    }
    pen.restore();
    pen.strokeStyle = "#7f8a96";
    pen.lineWidth = 1;
    pen.strokeRect(...inner);
    this.axes(pen, width, tall, bottom, last);
  }

  axes(pen, width, tall, bottom, last) {
    const { view } = this;
    pen.fillStyle = "#24303d";
    pen.font = "12px system-ui, sans-serif";
    pen.textBaseline = "middle";
    const m0 = this.metre(view.first), m1 = this.metre(view.last);
    if (m0 != null && m1 != null && m0 !== m1) {
      pen.textAlign = "right";
      for (const m of ticks(Math.min(m0, m1), Math.max(m0, m1), tall / 34)) {
        const y = this.y(view.first + (m - m0) / (m1 - m0) * (view.last - view.first), tall, bottom);
        pen.fillText(`${Number(m.toFixed(1))} m`, LEFT - 6, y);
        pen.fillRect(LEFT - 4, y - 0.5, 4, 1);
      }
    }
    pen.textAlign = "left";
    for (const c of ticks(view.first, view.last, tall / 40).filter(Number.isInteger)) {
      const y = this.y(c, tall, bottom);
      pen.fillText(String(c), width - RIGHT + 7, y);
      pen.fillRect(width - RIGHT, y - 0.5, 4, 1);
    }
    pen.textAlign = "center";
    const span = (view.to - view.from) / US, most = Math.max(2, (width - LEFT - RIGHT) / 90);
    const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600].find(s => span / s <= most) ?? 43200;
    for (let t = Math.ceil(view.from / US / step) * step; t * US <= view.to; t += step) {
      const x = this.x(t * US, width), tenths = step < 1 ? `.${Math.round(t * 10) % 10}` : "";
      pen.fillRect(x - 0.5, tall - bottom, 1, 4);
      if (x < LEFT + 26 && last || x > width - RIGHT - 34 && last) continue;  // its unit stands there
      pen.fillText(clock(t * US) + tenths, x, tall - bottom + 12);
      if (last && this.zone !== "UTC") pen.fillText(clock(t * US, this.zone), x, tall - bottom + 26);
    }
    if (last) {
      pen.fillText("channel", width - RIGHT / 2 - 1, tall - bottom + 12);
      pen.fillText("UTC", LEFT / 2, tall - bottom + 12);
      if (this.zone !== "UTC") pen.fillText(this.zone.split("/").at(-1).slice(0, 9), LEFT / 2, tall - bottom + 26);
    }
  }

  // -- hands

  listen(panel) {
    const { made } = panel, size = () => [made.clientWidth, made.clientHeight];
    made.addEventListener("pointerdown", event => {
      if (event.button || event.pointerType === "touch") return;
      this.drag = { panel, x0: event.offsetX, y0: event.offsetY, x1: event.offsetX, y1: event.offsetY };
      made.setPointerCapture(event.pointerId);
    });
    made.addEventListener("pointermove", event => {
      const [width, tall] = size(), time = this.time(event.offsetX, width), channel = Math.round(this.channel(event.offsetY, tall, panel.bottom));
      const metre = this.metre(channel);
      this.on.cursor?.(`${clock(time)} UTC · channel ${channel}${metre == null ? "" : ` · ${metre.toFixed(1)} m`}`);
      if (this.drag) { Object.assign(this.drag, { x1: event.offsetX, y1: event.offsetY }); this.paint(); }
    });
    made.addEventListener("pointerup", event => {
      const { drag } = this, [width, tall] = size();
      this.drag = null;
      if (!drag) return;
      const [dx, dy] = [Math.abs(drag.x1 - drag.x0), Math.abs(drag.y1 - drag.y0)];
      if (dx < 5 && dy < 5) { this.pick(event.offsetX, event.offsetY, width, tall, panel); return; }
      const view = {};
      if (dx >= 5) { view.from = this.time(Math.min(drag.x0, drag.x1), width); view.to = this.time(Math.max(drag.x0, drag.x1), width); }
      if (dy >= 12) { view.first = this.channel(Math.max(drag.y0, drag.y1), tall, panel.bottom); view.last = this.channel(Math.min(drag.y0, drag.y1), tall, panel.bottom); }
      this.show(view);
    });
    made.addEventListener("dblclick", () => this.show(this.whole));
    made.addEventListener("wheel", event => {
      if (!event.ctrlKey && !event.shiftKey) return;  // the page scrolls
      event.preventDefault();
      const [width, tall] = size();
      this.zoom((event.deltaY || event.deltaX) > 0 ? 1.4 : 1 / 1.4, { time: this.time(event.offsetX, width), channel: this.channel(event.offsetY, tall, panel.bottom) });
    }, { passive: false });
    made.addEventListener("keydown", event => {
      const act = { ArrowLeft: () => this.move(-0.2, 0), ArrowRight: () => this.move(0.2, 0), ArrowUp: () => this.move(0, 0.2), ArrowDown: () => this.move(0, -0.2),
        "+": () => this.zoom(0.5), "=": () => this.zoom(0.5), "-": () => this.zoom(2), 0: () => this.show(this.whole) }[event.key];
      if (act && !event.ctrlKey && !event.metaKey) { event.preventDefault(); act(); }
    });
  }

  pick(x, y, width, tall, panel) {
    const time = this.time(x, width), channel = this.channel(y, tall, panel.bottom), slack = (this.view.to - this.view.from) * 4 / width;
    const hit = this.boxes.find(([start, end, first, last]) => time >= start - slack && time <= end + slack && channel >= first - 1 && channel <= last + 1);
    if (hit) this.on.pick?.(hit[7], hit[6]);
  }
}
