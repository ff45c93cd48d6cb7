// The page of an alarm: each part is asked for by itself, and says so where there is none.
import { $, called, canvas, clock, element, entryId, get, image, json, post, say, ticks, TWO_SIDED, US, VIRIDIS, writes } from "./common.js";
import { Waterfalls } from "./waterfall.js";

const { day, event } = document.body.dataset, base = `days/${day}/alarms/${encodeURIComponent(event)}`;

async function part(id, fill) {
  const host = $(id);
  try {
    await fill(host);
  } catch (error) {
    host.replaceChildren(element("p", { class: "note" }, error.message));
  }
}

function table(names, rows) {
  return element("table", {}, element("thead", {}, element("tr", {}, ...names.map(name => element("th", { scope: "col" }, name)))),
    element("tbody", {}, ...rows.map(row => element("tr", {}, ...row.map(cell => element("td", {}, cell ?? "–"))))));
}

async function floats(what) {
  const answer = await get(`${base}/picture`, { what });
  return { ...JSON.parse(answer.headers.get("x-picture")), values: new Float32Array(await answer.arrayBuffer()) };
}

const step = (value, low, high, table) => (Number.isNaN(value) ? 0 : table[Math.max(0, Math.min(255, Math.round((value - low) / (high - low) * 255)))]);

// Frames to the right and bands upwards.
function bands(picture, low, high, table) {
  const { rows, columns, values } = picture;
  return image(columns, rows, i => step(values[(i % rows) * columns + Math.floor(i / rows)], low, high, table));
}

function spectrogram(host, picture, told) {
  const cells = bands(picture, -1, 8, VIRIDIS), { hz, start } = picture, end = start + picture.rows * picture.step;
  host.replaceChildren();
  const left = 56, bottom = 22;
  canvas(host, 250, `Spectrogram of channel ${told.peak_channel ?? ""}: spreads above usual, by time and frequency`, (pen, width, tall) => {
    const x = t => left + (t - start) / (end - start) * (width - left - 6), h = tall - bottom - 4;
    pen.clearRect(0, 0, width, tall);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(cells, left, 4, width - left - 6, h);
    pen.font = "12px system-ui, sans-serif";
    pen.fillStyle = "#24303d";
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    for (let k = 0; k < 6 && hz.length; k++) {
      const band = Math.round(k / 5 * (hz.length - 1));
      pen.fillText(`${hz[band].toFixed(0)} Hz`, left - 4, Math.max(10, 4 + h - (band + 0.5) / hz.length * h));
    }
    pen.textAlign = "center";
    for (const t of ticks(start / US, end / US, (width - left) / 90).filter(Number.isInteger)) {
      pen.fillText(clock(t * US), Math.min(x(t * US), width - 28), tall - 9);
    }
    for (const [colour, thick] of [["#fff", 4], ["#d00", 1.5]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = thick;
      pen.strokeRect(x(told.start), 5, Math.max(2, x(told.end) - x(told.start)), h - 2);
    }
  });
  host.append(element("p", { class: "note" }, "Whitened: spreads above what is usual for the channel, −1 (dark) to 8 (yellow). The red box is the event."));
}

const SVG = "http://www.w3.org/2000/svg";
function shape(name, attributes, text = "") {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

function spectrum(host, { hz, loudest, alarm, usual, spread }) {
  // As wide as its place, so that letters are not scaled down.
  const w = Math.min(560, Math.max(280, host.clientWidth)), h = 254, left = 46, bottom = 18, n = hz.length;
  const known = [...loudest, ...alarm, ...usual].filter(Number.isFinite), low = Math.min(...known) - 3, high = Math.max(...known) + 3;
  const x = i => left + i / (n - 1) * (w - left - 8), y = v => 6 + (high - v) / (high - low) * (h - bottom - 6);
  const path = values => values.map((v, i) => `${i ? "L" : "M"}${x(i).toFixed(1)} ${y(v).toFixed(1)}`).join("");
  const svg = shape("svg", { viewBox: `0 0 ${w} ${h}`, role: "img", "aria-label": "Spectrum of the alarm above the usual one of its channel and hour" });
  const band = [...usual.map((v, i) => [i, v + spread[i]]), ...usual.map((v, i) => [i, v - spread[i]]).reverse()];
  svg.append(shape("polygon", { points: band.map(([i, v]) => `${x(i).toFixed(1)},${y(v).toFixed(1)}`).join(" "), fill: "#c9d1da" }));
  svg.append(shape("path", { d: path(usual), fill: "none", stroke: "#55616e", "stroke-width": 1.6, "stroke-dasharray": "5 3" }));
  svg.append(shape("path", { d: path(alarm), fill: "none", stroke: "#0072b2", "stroke-width": 1.2 }));
  svg.append(shape("path", { d: path(loudest), fill: "none", stroke: "#0072b2", "stroke-width": 2.6 }));
  for (const v of ticks(low, high, 5)) svg.append(shape("text", { x: left - 6, y: y(v) + 4, "text-anchor": "end", "font-size": 12 }, `${v}`));
  const last = w < 400 ? 3 : 5;
  for (let k = 0; k <= last; k++) {
    const i = Math.round(k / last * (n - 1));
    svg.append(shape("text", { x: x(i), y: h - 4, "text-anchor": k === last ? "end" : "middle", "font-size": 12 }, `${hz[i]?.toFixed(0)} Hz`));
  }
  host.replaceChildren(svg, element("p", { class: "note" }, "dB by band: thick its loudest tenth, thin all of it, dashed usual, grey one spread."));
}

async function network(host) {
  const parts = await Promise.all(["input", "reconstruction", "residual"].map(floats));
  host.replaceChildren();
  parts.forEach((picture, i) => {
    const name = ["Input", "Reconstruction", "Residual"][i], cells = i < 2 ? bands(picture, -1, 8, VIRIDIS) : bands(picture, -6, 6, TWO_SIDED);
    const figure = element("figure", {}, element("figcaption", {}, name));
    host.append(figure);
    canvas(figure, 170, `${name} of the strongest window, by time and band`, (pen, width, tall) => {
      pen.imageSmoothingEnabled = false;
      pen.drawImage(cells, 0, 0, width, tall);
    });
  });
}

async function earlier(host, told, row) {
  const { days } = await json(`${base}/earlier`);
  host.replaceChildren();
  if (!days.length) host.append(element("p", { class: "note" }, "No earlier day has waterfalls."));
  const wide = Math.max(6, row.last - row.first + 1);
  for (const other of [{ day, start: told.start, end: told.end }, ...days]) {
    const query = { fibre: told.fibre, layer: "power", from: other.start - 60 * US, to: other.end + 60 * US, first: row.first - wide, last: row.last + wide, width: 300, height: 120 };
    const figure = element("figure", {}, element("figcaption", {}, element("a", { href: `/day/${other.day}` }, other.day === day ? "this day" : other.day)));
    host.append(figure);
    const answer = await get(`days/${other.day}/waterfall`, query), head = JSON.parse(answer.headers.get("x-picture"));
    const codes = new Uint8Array(await answer.arrayBuffer()), cells = image(head.rows, head.columns, i => (codes[i] ? step((codes[i] - 1) / 8 - 2, -1, 10, VIRIDIS) : 0));
    canvas(figure, 110, `Power at this place and time on ${other.day}`, (pen, width, tall) => {
      pen.clearRect(0, 0, width, tall);
      pen.imageSmoothingEnabled = false;
      pen.drawImage(cells, 0, 0, width, tall);
      pen.strokeStyle = "#7f8a96";
      pen.strokeRect(0.5, 0.5, width - 1, tall - 1);
    });
  }
}

const link = other => element("a", { href: `/day/${other.day}/alarm/${encodeURIComponent(other.event)}` }, other.window == null ? other.day : clock(other.window, "UTC", true));

async function ofKind(host) {
  const { kind, others } = await json(`${base}/kind`);
  if (!kind) throw new Error("It is of none: too few alarms of the last 28 days sound like it.");
  const band = kind.hz.length ? `, strongest at ${kind.hz.map(hz => hz.toFixed(0)).join(" to ")} Hz` : "", form = $("#name");
  host.replaceChildren(element("p", {}, element("b", {}, called(kind)), kind.by ? `, as ${kind.by} calls it` : "", `: ${kind.events} alarms on ${kind.days} ${kind.days === 1 ? "day" : "days"} since ${kind.first_day}${band}.`),
    element("p", { class: "around" }, others.length ? "The last ones:" : "", ...others.map(link)));
  if (!form) return;
  form.hidden = false;
  form.elements.who.value = localStorage.getItem("who") ?? "";
  let id = entryId();
  form.addEventListener("submit", submitted => {
    submitted.preventDefault();
    localStorage.setItem("who", form.elements.who.value);
    send(`${base}/kind`, { entry_id: id, who: form.elements.who.value, kind: form.elements.kind.value });
  });
  form.addEventListener("input", () => { id = entryId(); });
  if (!kind.entry) return;
  const button = element("button", { type: "button" }, "Take the name back");
  button.addEventListener("click", () => send("kinds/undo", { entry_id: entryId(), who: form.elements.who.value, undoes: kind.entry }));
  form.append(button);
}

function facts(pairs) {
  return element("dl", { class: "facts" }, ...pairs.filter(([, value]) => value != null).flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
}

function scoredBy(run) {
  if (!run) return "no run of Dagster, as far as the day's scores say";
  return element("a", { href: run.url }, `run ${run.id}`);
}

function said(row) {
  const host = $("#said");
  if (!row.verdict) { host.replaceChildren(element("p", {}, "Nobody has judged it yet.")); return; }
  const line = element("p", {}, element("b", {}, row.verdict), ` — ${row.kind}, by ${row.by}${row.note ? `: ${row.note}` : ""} `);
  if (writes) {
    const button = element("button", { type: "button" }, "Take back");
    button.addEventListener("click", () => send(`${base}/verdicts/undo`, { entry_id: entryId(), who: row.by, undoes: row.entry }));
    line.append(button);
  }
  host.replaceChildren(line);
}

async function send(path, values) {
  try {
    await post(path, values);
    location.reload();
  } catch (error) { say(error.message); }
}

async function begin() {
  const [told, head] = await Promise.all([json(base), json(`days/${day}`)]), { row } = told, peak = { ...told.event };
  said(row);
  const form = $("#verdict");
  if (form) {
    form.elements.who.value = localStorage.getItem("who") ?? "";
    let id = entryId();
    form.addEventListener("submit", submitted => {
      submitted.preventDefault();
      const { who, kind, note } = form.elements;
      localStorage.setItem("who", who.value);
      send(`${base}/verdicts`, { entry_id: id, who: who.value, kind: kind.value, note: note.value, verdict: submitted.submitter?.value });
    });
    form.addEventListener("input", () => { id = entryId(); });
  }
  const fibre = head.fibres.find(other => other.name === told.event.fibre);
  if (fibre && head.waterfalls) {
    const falls = new Waterfalls($("#panels"), day, fibre, { height: 130, zone: head.zone, layers: head.both_sides ? undefined : ["power", "ours"] });
    falls.chosen = row.id;
    falls.around(row);
  }
  const sound = $("#sound"), source = () => { sound.src = `/api/${base}/sound.wav?speed=${$("#speed").value}`; };
  source();
  $("#speed").addEventListener("change", source);
  await part("#detectors", host => {
    if (!told.detectors.length) throw new Error("Ours did not raise this alarm, or its scores are gone.");
    host.replaceChildren(table(["detector", "score", "p-value"], told.detectors.map(d => [d.name, d.score?.toFixed(2), d.p_value?.toPrecision(3)])),
      element("p", { class: "note" }, "Of the strongest window: the p-value is the share of reference windows that score as high."));
  });
  await part("#contractor", host => {
    if (!told.contractor.length) throw new Error("The contractor says nothing of this place and time.");
    host.replaceChildren(table(["class", "probability, at most"], told.contractor.map(c => [c.class, c.probability.toFixed(3)])));
  });
  await part("#normal", host => {
    if (!told.normal.length) throw new Error("Not known.");
    host.replaceChildren(table(["fibre", "channel", "begins (UTC)", "distance"], told.normal.map(n => [n.fibre, String(n.channel), clock(n.start, "UTC", true), n.distance.toFixed(2)])));
  });
  await part("#alike", host => {
    if (!told.alike.length) throw new Error("No alarm of the last 28 days has the same bands.");
    host.replaceChildren(table(["day", "alarm", "likeness"], told.alike.map(a => [a.day, element("a", { href: `/day/${a.day}/alarm/${encodeURIComponent(a.event)}` }, a.event.slice(0, 12)), a.similarity.toFixed(2)])));
  });
  $("#files").replaceChildren(...told.files.map(file => facts([["file", file.path], ["format", file.format], ["samples", file.samples.map(n => n.toLocaleString("en")).join(" to ")],
    ["bytes", file.bytes?.map(n => n.toLocaleString("en")).join(" to ")], ["SHA-256", file.sha256], ["remarks", file.issues?.join("; ") || null]])));
  if (told.model) {
    $("#model").append(facts([["reference model", told.model.reference_model], ["digest", told.model.digest], ["network", told.model.vae], ["learned from", told.model.days?.join(", ")],
      ["scored by", scoredBy(told.run)]]));
  }
  await part("#spectrogram", async host => spectrogram(host, await floats("spectrogram"), peak));
  await part("#spectrum", async host => spectrum(host, await json(`${base}/spectrum`)));
  await part("#kind", ofKind);
  await part("#earlier", host => earlier(host, told.event, row));
  await part("#network", network);
  document.body.dataset.done = "yes";
}

begin().catch(error => say(error.message));
