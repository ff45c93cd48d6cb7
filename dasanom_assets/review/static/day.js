// The page of a day: row ↔ zoom ↔ box, and the address says what is looked at.
import { $, AGREEMENT, called, clock, element, json, kp, say, seconds } from "./common.js";
import { Waterfalls } from "./waterfall.js";

const { day } = document.body.dataset, address = new URLSearchParams(location.search), PAGE = 100;
const COLUMNS = [["rank", "Look"], ["first_m", "KP"], ["start", "Begins (UTC)"], ["seconds", "Lasts"], ["kind", "Kind"], ["rate", "A km and day"],
  ["agreement", "Who"], ["verdict", "Verdict"], [null, "Why"]];
let kinds = { kinds: [], rows: {} };  // of event, found over weeks: they come after the rows
const wanted = address.get("sounds") ?? "";
let head, falls, rows = [], total = 0, sort = address.get("sort") ?? "rank", chosen = address.get("row") ?? "";

function remember() {
  const view = falls && falls.view, whole = falls && falls.whole, put = (name, value) => (value ? address.set(name, value) : address.delete(name));
  const zoomed = view && ["from", "to", "first", "last"].some(name => view[name] !== whole[name]);
  put("view", zoomed ? [Math.round(view.from), Math.round(view.to), view.first.toFixed(1), view.last.toFixed(1)].join("_") : "");
  put("fibre", falls && head.fibres.length > 1 ? falls.fibre.name : "");
  put("row", chosen);
  put("sort", sort === "rank" ? "" : sort);
  for (const name of ["text", "kind", "sounds", "agreement", "verdict"]) put(name, $("#filter").elements[name].value);
  put("hide", hidden());
  history.replaceState(null, "", address.size ? `?${address}` : location.pathname);
}

const hidden = () => [...document.querySelectorAll("#filter [name=hide]:checked")].map(box => box.value).join(",");

function filter() {
  const fields = $("#filter").elements;
  return { text: fields.text.value, kind: fields.kind.value, sounds: fields.sounds.value, agreement: fields.agreement.value, verdict: fields.verdict.value, hide: hidden() };
}

async function list(more = false) {
  const answer = await json(`days/${day}/alarms`, { ...filter(), sort, offset: more ? rows.length : 0, limit: PAGE });
  rows = more ? [...rows, ...answer.rows].slice(-3 * PAGE) : answer.rows;
  total = answer.total;
  $("#count").textContent = answer.of === total ? `${total.toLocaleString("en")} rows` : `${total.toLocaleString("en")} of ${answer.of.toLocaleString("en")} rows`;
  table();
}

function table() {
  const header = element("tr", {}, ...COLUMNS.map(([name, label]) => {
    const cell = element("th", { scope: "col" });
    if (!name) { cell.append(label); return cell; }
    const mine = sort.replace("-", "") === name;
    if (mine) cell.setAttribute("aria-sort", sort.startsWith("-") ? "descending" : "ascending");
    const button = element("button", { type: "button" }, label + (mine ? (sort.startsWith("-") ? " ▼" : " ▲") : ""));
    button.addEventListener("click", () => { sort = mine && !sort.startsWith("-") ? `-${name}` : name; remember(); list(); });
    cell.append(button);
    return cell;
  }));
  const body = element("tbody", {}, ...rows.map((row, i) => {
    const link = element("a", { href: `/day/${day}/alarm/${encodeURIComponent(row.id)}` }, kp(row.first_m, row.last_m) === "–" ? `ch. ${row.first}–${row.last}` : kp(row.first_m, row.last_m));
    const made = element("tr", { "data-row": row.id }, element("td", {}, String(row.rank)), element("td", { class: "tight" }, link), element("td", { class: "tight" }, clock(row.start)),
      element("td", { class: "tight" }, seconds(row.seconds)), element("td", {}, row.kind, row.alarms > 1 ? ` (${row.alarms})` : "", ofKind(row)), element("td", {}, row.often ?? "–"),
      element("td", {}, element("span", { class: `chip ${row.agreement}` }, AGREEMENT[row.agreement])), element("td", {}, row.verdict ?? (row.planned ? "explained" : "–")), element("td", { class: "why" }, row.why));
    made.tabIndex = row.id === chosen || (i === 0 && !rows.some(other => other.id === chosen)) ? 0 : -1;
    if (row.id === chosen) made.classList.add("chosen");
    if (row.settled) made.classList.add("passed");
    made.addEventListener("click", event => { if (event.target.tagName !== "A") choose(row, true); });
    made.addEventListener("keydown", event => keyed(event, made, row));
    return made;
  }));
  $("#list").replaceChildren(element("table", {}, element("thead", {}, header), body));
  $("#more").hidden = rows.length >= total || rows.length >= 3 * PAGE;
}

function ofKind(row) {
  const kind = kinds.kinds.find(other => other.kind === kinds.rows[row.id]);
  return kind ? element("small", { class: "like" }, called(kind)) : null;
}

async function findKinds() {
  kinds = await json(`days/${day}/kinds`);
  const choice = $("#filter").elements.sounds;
  for (const kind of kinds.kinds) choice.append(element("option", { value: String(kind.kind) }, `${called(kind)} (${kind.events})`));
  choice.value = wanted;
  if (choice.value) list();
  else table();
}

function keyed(event, made, row) {
  const step = { ArrowDown: "nextElementSibling", j: "nextElementSibling", ArrowUp: "previousElementSibling", k: "previousElementSibling" }[event.key];
  if (step && made[step]) {
    event.preventDefault();
    made.tabIndex = -1;
    made[step].tabIndex = 0;
    made[step].focus();
  } else if (event.key === "Enter" && event.target === made) location.href = `/day/${day}/alarm/${encodeURIComponent(row.id)}`;
  else if (event.key === "z") choose(row, true);
}

function choose(row, zoom) {
  chosen = row.id;
  for (const other of document.querySelectorAll("#list tr.chosen")) other.classList.remove("chosen");
  document.querySelector(`#list tr[data-row="${CSS.escape(row.id)}"]`)?.classList.add("chosen");
  if (falls) {
    falls.chosen = row.id;
    if (zoom) {
      if (falls.fibre.name !== row.fibre) { falls.setFibre(head.fibres.find(fibre => fibre.name === row.fibre)); $("#fibre").value = row.fibre; }
      falls.around(row);
      $("#panels").scrollIntoView({ block: "nearest" });
    } else falls.paint();
  }
  remember();
}

async function pickBox(id) {
  if (!id) return;
  if (!rows.some(row => row.id === id)) {  // the table begins where the box is
    const answer = await json(`days/${day}/alarms`, { sort: "rank", text: id, limit: 1 });
    if (!answer.rows.length) return;
    rows = [answer.rows[0], ...rows.slice(0, PAGE - 1)];
    table();
  }
  choose(rows.find(row => row.id === id), false);
  const made = document.querySelector(`#list tr[data-row="${CSS.escape(id)}"]`);
  made?.scrollIntoView({ block: "nearest" });
  made?.focus({ preventScroll: true });
}

async function begin() {
  head = await json(`days/${day}`);
  const host = $("#panels");
  if (host && head.fibres.length) {
    const fibre = head.fibres.find(other => other.name === address.get("fibre")) ?? head.fibres[0];
    $("#fibre").value = fibre.name;
    const [from, to, first, last] = (address.get("view") ?? "").split("_").map(Number);
    const view = last > first && to > from ? { from, to, first, last } : null;
    const layers = head.both_sides ? undefined : ["power", "ours"];
    const drawn = (n, total) => { $("#drawn").textContent = n < total ? `the ${n.toLocaleString("en")} most pressing of ${total.toLocaleString("en")}` : ""; };
    const on = { view: remember, pick: pickBox, boxes: drawn, cursor: words => { $("#cursor").textContent = words; } };
    falls = new Waterfalls(host, day, fibre, { zone: head.zone, view, on, layers });
    falls.chosen = chosen;
    $("#in").addEventListener("click", () => falls.zoom(0.5));
    $("#out").addEventListener("click", () => falls.zoom(2));
    $("#all").addEventListener("click", () => falls.show(falls.whole));
    $("#fibre").addEventListener("change", event => { falls.setFibre(head.fibres.find(other => other.name === event.target.value)); falls.show({}); });
  }
  for (const name of ["text", "kind", "agreement", "verdict"]) $("#filter").elements[name].value = address.get(name) ?? "";
  for (const box of document.querySelectorAll("#filter [name=hide]")) box.checked = (address.get("hide") ?? "").split(",").includes(box.value);
  let timer;
  $("#filter").addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(() => { remember(); list(); }, 120); });
  $("#filter").addEventListener("submit", event => event.preventDefault());
  $("#more").addEventListener("click", () => list(true));
  for (const button of document.querySelectorAll("button.show")) {
    button.addEventListener("click", () => choose(head.places.find(row => row.id === button.dataset.row), true));
  }
  await list();
  findKinds().catch(error => say(error.message));
  if (chosen && falls && !address.get("view")) {
    const answer = await json(`days/${day}/alarms`, { text: chosen, limit: 1 });
    if (answer.rows.length) choose(answer.rows[0], true);
  }
}

begin().catch(error => say(error.message));
