// What the Train tab does in the browser: the body of a function that Gradio calls once for the form and once for the
// runs (js_on_load), with element, trigger, watch and server. Events: "recipe", "started" of the form; "look", "act",
// "use" of the runs. Which run is shown and which are compared is kept behind the # of the address, nowhere else.

const shared = (window.evenhandTrain ??= { open: new Map(), kept: new Map(), wanted: "" });
const form = () => element.querySelector("form");
const frame = () => element.querySelector(".eh-train-new"); // its form has a field called dataset
const page = () => element.querySelector(".eh-train");
const slot = (name) => element.querySelector(`[data-slot="${CSS.escape(name)}"]`);
const wordsOf = (node) => JSON.parse(node.closest("[data-words]")?.dataset.words ?? "{}");
const calm = () => window.matchMedia("(prefers-reduced-motion: reduce)").matches;
const kept = () => new URLSearchParams(window.location.hash.slice(1));

function keep(changes) {
  const now = kept();
  for (const [name, value] of Object.entries(changes)) {
    if (value) now.set(name, value);
    else now.delete(name);
  }
  const address = new URL(window.location.href);
  address.hash = now.toString();
  if (address.href !== window.location.href) window.history.replaceState(window.history.state, "", address);
}

// -- what both have: copying, and what the reader opened

async function copy(button) {
  const frame = button.closest(".eh-train-command"), words = wordsOf(button), said = frame.querySelector(".eh-said");
  const code = frame.querySelector("code");
  let copied = true;
  try {
    await navigator.clipboard.writeText(code.textContent);
  } catch {
    const selection = window.getSelection();
    selection.selectAllChildren(code);
    copied = document.execCommand("copy");
    selection.removeAllRanges();
  }
  said.textContent = copied ? words.copied : words.copy_failed;
  window.setTimeout(() => (said.textContent = ""), copied ? 2500 : 8000);
}

element.addEventListener("toggle", (event) => {
  const key = event.target.dataset?.key;
  if (key) shared.open.set(key, event.target.open);
}, true);

function restore() {
  for (const details of element.querySelectorAll("details[data-key]")) {
    const open = shared.open.get(details.dataset.key);
    if (open !== undefined && details.open !== open) details.open = open;
  }
  for (const field of element.querySelectorAll("[data-kept]")) {
    const chosen = shared.kept.get(field.dataset.kept);
    if (chosen !== undefined) field.checked = field.value === chosen;
  }
}

// -- the form

let waiting, asked = 0, pending = false;

function typed() {
  const draft = { recipe: "sft", processes: "1", values: {} };
  for (const field of form().elements) {
    if (!field.name || (field.type === "radio" && !field.checked)) continue;
    const value = field.type === "checkbox" ? field.checked : field.value;
    if (field.name === "recipe" || field.name === "processes") draft[field.name] = value;
    else draft.values[field.name] = value;
  }
  return draft;
}

// Settings that do nothing with what learns are not shown.
function need() {
  const learns = form().elements.namedItem("trainable")?.value;
  for (const node of form().querySelectorAll("[data-needs]"))
    node.hidden = !node.dataset.needs.split(" ").includes(learns);
}

async function look() {
  window.clearTimeout(waiting);
  waiting = undefined;
  if (!form()) return;
  const number = ++asked;
  let answer;
  try {
    answer = await server.look([JSON.stringify(typed()), frame().dataset.language]);
  } catch {
    return;
  }
  if (number !== asked || !form() || !answer) return;
  for (const node of form().querySelectorAll("[data-slot]")) {
    const name = node.dataset.slot, html = answer.slots[name] ?? "";
    if (name === "answer") continue;
    if (name === "command") node.textContent = answer.command;
    else if (node.dataset.html !== html) node.innerHTML = node.dataset.html = html;
  }
  for (const [name, html] of Object.entries(answer.known)) {
    const list = document.getElementById(`eh-train-${name}-known`);
    if (list && list.dataset.html !== html) list.innerHTML = list.dataset.html = html;
  }
  for (const field of form().elements)
    if (field.name) field.toggleAttribute("aria-invalid", answer.bad.includes(field.name));
}

async function start() {
  if (pending) return;
  const button = form().querySelector("[type=submit]"), words = wordsOf(button), label = button.textContent;
  pending = true;
  button.setAttribute("aria-disabled", "true");
  button.textContent = words.starting;
  slot("answer").textContent = "";
  let answer;
  try {
    answer = await server.start([JSON.stringify(typed()), frame().dataset.language]);
  } catch {
    answer = null;
  }
  pending = false;
  button.removeAttribute("aria-disabled");
  button.textContent = label;
  if (!answer) slot("answer").textContent = words.no_answer;
  else slot("answer").innerHTML = answer.said;
  if (!answer?.run) return;
  shared.wanted = answer.run;
  keep({ run: answer.run });
  shared.open.set("new", false);
  restore();
  trigger("started", {});
}

element.addEventListener("input", (event) => {
  if (!form()?.contains(event.target) || event.target.name === "recipe") return;
  slot("answer").textContent = "";
  need();
  window.clearTimeout(waiting);
  waiting = window.setTimeout(look, 500);
});

element.addEventListener("change", (event) => {
  if (!form()?.contains(event.target)) return;
  if (event.target.name !== "recipe") return look();
  const draft = { ...typed(), recipe: frame().dataset.recipe };
  trigger("recipe", { recipe: event.target.value, before: JSON.stringify(draft) });
});

element.addEventListener("submit", (event) => {
  event.preventDefault();
  start();
});

// What is typed and not yet kept must not be lost with the page.
window.addEventListener("pagehide", () => waiting && look());

// -- the runs

element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button || !element.contains(button) || button.getAttribute("aria-disabled") === "true") return;
  if (button.dataset.copy) return copy(button);
  const { act, id, kind } = button.dataset;
  if (!act) return;
  if (act === "show") {
    keep({ run: id });
    shared.wanted = id;
    trigger("look", {});
  } else if (act === "compare-end") {
    keep({ with: "" });
    trigger("look", {});
  } else if (act === "use") {
    keep({ tab: "" });
    trigger("use", { id, kind });
  } else if (act === "export") {
    const choice = button.closest("details");
    trigger("act", { act, id, kind: choice.querySelector("input:checked")?.value });
    shared.open.delete(choice.dataset.key);
    choice.open = false;
  } else {
    shared.open.delete(button.closest("details[data-key]")?.dataset.key);
    trigger("act", { act, id, kind });
  }
});

element.addEventListener("change", (event) => {
  if (event.target.dataset?.kept) shared.kept.set(event.target.dataset.kept, event.target.value);
});

element.addEventListener("change", (event) => {
  const id = event.target.dataset?.compare;
  if (!id) return;
  const now = new Set((kept().get("with") ?? "").split(",").filter(Boolean));
  if (event.target.checked) now.add(id);
  else now.delete(id);
  keep({ with: [...now].join(",") });
  trigger("look", {});
});

// Another window, or the command line, may have done something since this window was looked at.
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && page()?.getClientRects().length) trigger("look", {});
});

window.addEventListener("hashchange", () => page() && trigger("look", {})); // a link to a run was pasted

let held = "";
element.addEventListener("focusin", (event) => (held = event.target.dataset?.focus ?? ""));
element.addEventListener("focusout", () => document.hasFocus() && (held = ""));

const scrolled = new Map();
element.addEventListener("scroll", (event) => {
  const node = event.target;
  if (node.dataset?.scroll) scrolled.set(node.dataset.scroll, node.scrollTop + node.clientHeight >= node.scrollHeight - 4 ? "end" : node.scrollTop);
}, true);

function drawn() {
  restore();
  if (form()) {
    form().reset(); // what the fields hold is what the server says, not what was typed into those of another recipe
    need();
    look();
  }
  if (!page()) return;
  for (const box of element.querySelectorAll("[data-compare]")) box.checked = box.hasAttribute("checked");
  for (const node of element.querySelectorAll("[data-scroll]")) {
    const place = scrolled.get(node.dataset.scroll) ?? (node.dataset.scroll.startsWith("log-") ? "end" : 0);
    node.scrollTop = place === "end" ? node.scrollHeight : place;
  }
  const { chosen } = page().dataset;
  if (kept().get("tab") === "train") keep({ run: chosen });
  if (held) {
    // The order of the list may have changed under the focus; or the button that was pressed is gone.
    const target = element.querySelector(`[data-focus="${CSS.escape(held)}"]`) ?? element.querySelector("#eh-train-title");
    if (target && target !== document.activeElement) target.focus({ preventScroll: true });
  }
  if (shared.wanted && shared.wanted === chosen) {
    shared.wanted = "";
    const title = element.querySelector("#eh-train-title");
    title.focus({ preventScroll: true });
    title.scrollIntoView({ behavior: calm() ? "auto" : "smooth", block: "nearest" });
  }
}

watch("value", drawn);
drawn();
