// Windows on the map in two and three dimensions, the histogram of scores, and clusters.
import { $, canvas, element, json, say, ticks, VIRIDIS, css } from "./common.js";

const { day } = document.body.dataset, WHO = ["neither", "both", "only us", "only contractor"], WHO_COLOUR = ["#8a939d", "#009e73", "#0072b2", "#e69f00"];
const CLUSTERS = ["#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#994f00", "#117733"];
let data, turn = { a: 0.6, b: 0.4 };

function colours() {
  const by = $("#colour").value, { points } = data, values = points[by];
  if (by === "who") return values.map(code => WHO_COLOUR[code]);
  if (by === "cluster") return values.map(label => (label < 0 ? "#8a939d" : CLUSTERS[label % CLUSTERS.length]));
  const known = values.filter(Number.isFinite), low = Math.min(...known), high = Math.max(...known);
  return values.map(value => (Number.isFinite(value) ? css(VIRIDIS[Math.round((value - low) / ((high - low) || 1) * 255)]) : "#8a939d"));
}

function words() {
  const by = $("#colour").value, { points } = data, values = points[by].filter(Number.isFinite);
  $("#words").textContent = by === "who" ? WHO.map((name, code) => `${name}: ${points.who.filter(w => w === code).length}`).join(" · ")
    : by === "cluster" ? `${new Set(values.filter(v => v >= 0)).size} clusters; grey: noise` : `dark ${Math.min(...values).toFixed(1)} to yellow ${Math.max(...values).toFixed(1)}`;
}

function scatter(pen, width, tall, places, reference) {
  const all = [...reference, ...places], xs = all.map(p => p[0]), ys = all.map(p => p[1]);
  const [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)], scale = Math.min((width - 20) / (x1 - x0), (tall - 20) / (y1 - y0));
  const x = p => width / 2 + (p[0] - (x0 + x1) / 2) * scale, y = p => tall / 2 - (p[1] - (y0 + y1) / 2) * scale;
  pen.clearRect(0, 0, width, tall);
  pen.fillStyle = "#d4d9df";
  for (const p of reference) pen.fillRect(x(p) - 1, y(p) - 1, 2.5, 2.5);
  const colour = colours(), order = places.map((_, i) => i).sort((a, b) => (data.points.who[a] > 0) - (data.points.who[b] > 0));
  for (const i of order) {
    const loud = data.points.who[i] > 0, size = loud ? 4.5 : 2;
    pen.fillStyle = colour[i];
    pen.beginPath();
    pen.arc(x(places[i]), y(places[i]), size, 0, 7);
    pen.fill();
    if (loud) { pen.strokeStyle = "#24303d"; pen.lineWidth = 0.8; pen.stroke(); }
  }
}

function turned(points) {
  const [ca, sa, cb, sb] = [Math.cos(turn.a), Math.sin(turn.a), Math.cos(turn.b), Math.sin(turn.b)];
  return points.map(([x, y, z]) => { const u = x * ca + z * sa, v = -x * sa + z * ca; return [u, y * cb - v * sb]; });
}

function histogram(host) {
  const { edges, quiet, flagged, thresholds } = data.histogram, h = 240, left = 52, bottom = 34;
  host.replaceChildren();
  canvas(host, h, `Histogram of scores: ${quiet.reduce((a, b) => a + b, 0)} windows outside and ${flagged.reduce((a, b) => a + b, 0)} within our alarms`, (pen, width) => {
    const most = Math.max(...quiet.map((n, i) => n + flagged[i]), 10), low = edges[0], high = edges.at(-1);
    const x = v => left + (v - low) / (high - low) * (width - left - 10), y = n => 8 + (1 - Math.log10(Math.max(n, 0.5) / 0.5) / Math.log10(most / 0.5)) * (h - bottom - 8);
    pen.clearRect(0, 0, width, h);
    quiet.forEach((n, i) => {
      for (const [count, colour] of [[n + flagged[i], "#9aa4af"], [flagged[i], "#0072b2"]]) {
        if (!count) continue;
        pen.fillStyle = colour;
        pen.fillRect(x(edges[i]), y(count), Math.max(1, x(edges[i + 1]) - x(edges[i]) - 0.5), h - bottom - y(count));
      }
    });
    pen.fillStyle = "#24303d";
    pen.font = "12px system-ui, sans-serif";
    pen.textAlign = "center";
    for (const v of ticks(low, high, width / 90)) pen.fillText(String(Number(v.toFixed(2))), x(v), h - 18);
    pen.fillText("score, spreads above usual", width / 2, h - 3);
    pen.textAlign = "right";
    for (let n = 1; n <= most; n *= 10) pen.fillText(n.toLocaleString("en"), left - 5, y(n) + 4);
    pen.textAlign = "left";
    pen.strokeStyle = "#fff";  // other lines do not cross the words
    pen.lineWidth = 4;
    thresholds.forEach(([budget, value], k) => {
      if (!(value >= low && value <= high)) return;
      pen.fillRect(x(value), 8, 1.5, h - bottom - 8);
      const at = [` ${budget} a km, day`, x(value) + 1.5, 20 + 15 * k];
      pen.strokeText(...at);
      pen.fillText(...at);
    });
  });
}

function tree(host, told) {
  if (!told) { host.replaceChildren(element("p", {}, "The reference that scored this day has one cluster at most, or no picture of its tree: there is nothing to tell apart.")); return; }
  const words = `Condensed tree of the reference’s windows: ${told.n_clusters} clusters in colour, ${(100 * told.noise_share).toFixed(0)} % of the windows in none`;
  host.replaceChildren(element("div", { class: "scroll", tabIndex: 0, role: "region", "aria-label": "Condensed tree" },
    element("img", { class: "tree", src: `/api/days/${day}/condensed_tree.png`, alt: words })),
  element("p", { class: "note" }, `${words}. A branch is as wide as the windows that still hang together at a density, which grows downwards (λ, one over a distance in standard deviations); its area is its stability.`));
}

async function begin() {
  data = await json(`days/${day}/map`);
  const clusters = data.clusters.map(c => element("tr", {}, element("td", {}, c.label < 0 ? "noise" : String(c.label)), element("td", {}, c.windows.toLocaleString("en")), element("td", {}, `${(100 * c.share).toFixed(1)} %`), element("td", {}, c.outlier.toFixed(2))));
  $("#clusters").replaceChildren(data.clusters.length > 1
    ? element("table", { class: "numbers" }, element("thead", {}, element("tr", {}, ...["cluster", "windows", "share", "median outlier score"].map(name => element("th", { scope: "col" }, name)))), element("tbody", {}, ...clusters))
    : element("p", {}, "All windows of this day are of one cluster: there is nothing to tell apart."));
  tree($("#tree"), data.tree);
  histogram($("#histogram"));
  if (!data.points.flat.length) { $("#flat").replaceChildren(element("p", {}, "No window could be placed on the map.")); return; }
  const flat = canvas($("#flat"), 420, "Map of windows in two dimensions", (pen, width, tall) => scatter(pen, width, tall, data.points.flat, data.reference.flat));
  const deep = canvas($("#deep"), 420, "Map of windows in three dimensions", (pen, width, tall) => scatter(pen, width, tall, turned(data.points.deep), turned(data.reference.deep)));
  deep.made.tabIndex = 0;
  deep.made.addEventListener("pointerdown", event => deep.made.setPointerCapture(event.pointerId));
  deep.made.addEventListener("pointermove", event => { if (event.buttons) { turn.a += event.movementX / 120; turn.b += event.movementY / 120; deep.paint(); } });
  deep.made.addEventListener("keydown", event => {
    const way = { ArrowLeft: ["a", -0.15], ArrowRight: ["a", 0.15], ArrowUp: ["b", -0.15], ArrowDown: ["b", 0.15] }[event.key];
    if (way) { event.preventDefault(); turn[way[0]] += way[1]; deep.paint(); }
  });
  $("#colour").addEventListener("change", () => { words(); flat.paint(); deep.paint(); });
  words();
}

begin().catch(error => say(error.message));
