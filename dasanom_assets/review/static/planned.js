// Planned works: a list, a form, and a file.
import { $, clock, element, entryId, json, post, say, writes } from "./common.js";

async function list() {
  const { planned } = await json("planned"), now = Date.now() * 1000;
  if (!planned.length) { $("#works").replaceChildren(element("p", {}, "None has been entered.")); return; }
  const names = ["Fibre", "From", "To", "Begins (UTC)", "Expires (UTC)", "Why", "Who", ""];
  const rows = planned.sort((a, b) => b.end - a.end).map(work => {
    const last = element("td");
    if (writes) {
      const button = element("button", { type: "button", "aria-label": `Take back: ${work.why}` }, "Take back");
      button.addEventListener("click", () => send("planned/undo", { entry_id: entryId(), who: work.who, undoes: work.entry_id }));
      last.append(button);
    }
    const cells = [work.fibre, `${work.first_m} m`, `${work.last_m} m`, clock(work.start, "UTC", true), clock(work.end, "UTC", true), work.why, work.who];
    return element("tr", work.end < now ? { class: "passed" } : {}, ...cells.map(cell => element("td", {}, cell)), last);
  });
  $("#works").replaceChildren(element("table", {}, element("thead", {}, element("tr", {}, ...names.map(name => (name ? element("th", { scope: "col" }, name) : element("td"))))), element("tbody", {}, ...rows)));
}

async function send(path, values) {
  try {
    await post(path, values);
    await list();
    say("Stored.");
  } catch (error) { say(error.message); }
}

for (const form of document.querySelectorAll("form")) form.elements.who.value = localStorage.getItem("who") ?? "";
$("#plan")?.addEventListener("submit", event => {
  event.preventDefault();
  const values = Object.fromEntries(new FormData(event.target));
  localStorage.setItem("who", values.who);
  send("planned", { ...values, entry_id: entryId(), start: `${values.start}Z`, end: `${values.end}Z` });
});
$("#import")?.addEventListener("submit", async event => {
  event.preventDefault();
  const { who, file } = event.target.elements;
  send("planned/import", { who: who.value, csv: await file.files[0].text() });
});
list().catch(error => say(error.message));
