// What the pages share: the API, words, and the colours of levels.
export const US = 1_000_000;
export const $ = (selector, root = document) => root.querySelector(selector);
export const writes = document.body.dataset.writes === "yes";

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key in made && typeof value !== "string") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children.filter(child => child !== null && child !== undefined));
  return made;
}

export function say(words) {
  const place = $("#say");
  place.textContent = words;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { place.textContent = ""; }, 6000);
}

export async function get(path, parameters = {}, how = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== "" && value != null));
  const answer = await fetch(`/api/${path}${query.size ? `?${query}` : ""}`, how);
  if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).error ?? answer.statusText);
  return answer;
}

export const json = async (path, parameters, how) => (await get(path, parameters, how)).json();

export async function post(path, values) {
  const body = JSON.stringify(values);
  const answer = await fetch(`/api/${path}`, { method: "POST", headers: { "content-type": "application/json" }, body });
  const said = await answer.json().catch(() => ({ error: answer.statusText }));
  if (!answer.ok) throw new Error(said.error);
  return said;
}

export const entryId = () => crypto.randomUUID();

const clocks = new Map();
export function clock(us, zone = "UTC", date = false) {
  const key = `${zone}${date}`;
  if (!clocks.has(key)) {
    const day = date ? { year: "numeric", month: "2-digit", day: "2-digit" } : {};
    clocks.set(key, new Intl.DateTimeFormat("sv-SE", { ...day, hour: "2-digit", minute: "2-digit", second: "2-digit", timeZone: zone }));
  }
  return clocks.get(key).format(us / 1000);
}

export const kp = (first, last) => {
  if (first == null) return "–";
  const a = (first / 1000).toFixed(3), b = (last / 1000).toFixed(3);
  return a === b ? a : `${a}–${b}`;
};
export const called = kind => kind.name ?? `kind ${kind.kind + 1}`;
export const seconds = s => (s < 120 ? `${s.toFixed(1)} s` : `${(s / 60).toFixed(1)} min`);
export const AGREEMENT = { both: "both", only_us: "only us", only_contractor: "only contractor", below: "below threshold" };
export const COLOUR = { both: "#009e73", only_us: "#0072b2", only_contractor: "#e69f00", below: "#5b6b7a" };

// Viridis, from a few of its colours: 256 steps as 32-bit pixels.
const ANCHORS = [[68, 1, 84], [72, 40, 120], [62, 74, 137], [49, 104, 142], [38, 130, 142], [31, 158, 137], [53, 183, 121],
  [109, 205, 89], [180, 222, 44], [253, 231, 37]];
const DIVERGING = [[33, 102, 172], [103, 169, 207], [209, 229, 240], [247, 247, 247], [253, 219, 199], [239, 138, 98], [178, 24, 43]];
function steps(anchors) {
  const table = new Uint32Array(256);
  for (let i = 0; i < 256; i++) {
    const x = i / 255 * (anchors.length - 1), k = Math.min(Math.floor(x), anchors.length - 2), part = x - k;
    const [r, g, b] = [0, 1, 2].map(j => Math.round(anchors[k][j] * (1 - part) + anchors[k + 1][j] * part));
    table[i] = 0xff000000 | b << 16 | g << 8 | r;
  }
  return table;
}
export const VIRIDIS = steps(ANCHORS);
export const TWO_SIDED = steps(DIVERGING);
export const css = pixel => `rgb(${pixel & 255} ${pixel >> 8 & 255} ${pixel >> 16 & 255})`;

export function ticks(low, high, most) {
  const raw = (high - low) / Math.max(1, most), power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map(k => k * power).find(k => k >= raw);
  const out = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) out.push(k * step);
  return out;
}

// A canvas with as many pixels as the screen has for it; `draw` is called now and whenever its width changes.
export function canvas(host, height, label, draw) {
  const made = element("canvas", { role: "img", "aria-label": label });
  made.style.height = `${height}px`;
  host.append(made);
  const paint = () => {
    const ratio = window.devicePixelRatio || 1, width = made.clientWidth;
    if (!width) return;
    made.width = Math.round(width * ratio);
    made.height = Math.round(height * ratio);
    const pen = made.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    draw(pen, width, height);
  };
  new ResizeObserver(paint).observe(made);
  return { made, paint };
}

// Cells as an image of their own, drawn to scale by whoever wants it; rows go upwards.
export function image(rows, columns, colour) {
  const off = new OffscreenCanvas(Math.max(1, columns), Math.max(1, rows)), pen = off.getContext("2d");
  const pixels = new ImageData(off.width, off.height), data = new Uint32Array(pixels.data.buffer);
  for (let y = 0; y < rows; y++) {
    const line = (rows - 1 - y) * columns;
    for (let x = 0; x < columns; x++) data[line + x] = colour(y * columns + x);
  }
  pen.putImageData(pixels, 0, 0);
  return off;
}
