// What the buttons, fields and points of the cards, the trail, the plane and the questions do in the browser.
//
// The body of a function that Gradio calls once for each HTML component that holds such pieces (js_on_load), with
// element, trigger, watch and server. A button with data-action sends the event "act" with {action, id, round, value,
// text, note, rater}: those that it has. What the reader has opened, typed or focused lives on when the component is
// drawn anew; it is kept in window.evenhand, by the ids of proposals, and nowhere else.

const shared = (window.evenhand ??= {
  open: new Set(), // keys of details that the reader opened
  drafts: new Map(), // proposal id -> text that is being edited
  typed: new Set(), // ids of those that differ from what is saved
  leaving: false, // the page goes on purpose: its session was deleted
  notes: new Map(), // key of a field -> what is typed there and not saved
  panels: new Map(), // question, proposal id and wording -> HTML from the server, or a promise of it
  wanted: null, // id of a proposal whose card is to be shown as soon as it is there
});
const editors = new Map(); // proposal id -> its editor's node, the texts and bars before it
const scrolled = new Map(); // key -> how far it is scrolled
let held = null; // what has the focus: {key, id}
let asked = null; // the question that took the focus
const calm = () => window.matchMedia("(prefers-reduced-motion: reduce)").matches;
const cardOf = (node) => node.closest("[data-card]");
const sectionOf = (node) => node.closest("[data-cards]");
const wordsOf = (node) => JSON.parse(sectionOf(node)?.dataset.words ?? "{}");
const quoted = (value) => CSS.escape(value);

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function send(data) {
  trigger("act", data);
}

function dataOf(button) {
  const data = { action: button.dataset.action };
  for (const name of ["id", "value", "text", "rater"]) if (name in button.dataset) data[name] = button.dataset[name];
  const round = button.dataset.round ?? cardOf(button)?.dataset.round;
  if (round) data.round = Number(round);
  return data;
}

// -- pressing

function press(button) {
  if (button.getAttribute("aria-disabled") === "true") return;
  const { action, id } = button.dataset;
  if (button.closest(".eh-editor")) return action === "save" ? save(id) : close(id);
  if (cardOf(button) && action === "edit" && !("text" in button.dataset)) return edit(cardOf(button));
  if (cardOf(button) && action === "copy") return copy(button);
  if (action === "show" && id) {
    if (go(id)) return;
    shared.wanted = id;
  }
  if (action === "rate") {
    const note = button.closest(".eh-rater").querySelector("[data-note]").value;
    return send({ ...dataOf(button), value: Number(button.dataset.value), note });
  }
  send(dataOf(button));
}

element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-action]");
  if (!button || !element.contains(button)) return;
  if (tip.touched === button) tip.touched = null; // the first touch of a point only shows what it is
  else press(button);
});

// Shows the card of a proposal where it is on the page now; false where it is not.
function go(id) {
  const card = document.querySelector(`[data-card][data-id="${quoted(id)}"]`);
  if (!card) return false;
  for (let details = card.closest("details"); details; details = details.parentElement.closest("details"))
    details.open = true;
  if (!card.getClientRects().length) return false;
  shared.wanted = null;
  card.scrollIntoView({ behavior: calm() ? "auto" : "smooth", block: "center" });
  card.focus({ preventScroll: true });
  return true;
}

async function copy(button) {
  const card = cardOf(button), words = wordsOf(button), said = card.querySelector(".eh-said");
  const text = shared.drafts.get(card.dataset.id) ?? card.querySelector(".eh-text").textContent;
  let copied = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = make("textarea", { class: "eh-out-of-sight", "aria-hidden": "true" });
    field.value = text;
    document.body.append(field);
    field.select();
    copied = document.execCommand("copy");
    field.remove();
    button.focus();
  }
  said.textContent = copied ? words.copied : words.copy_failed;
  window.setTimeout(() => (said.textContent = ""), copied ? 2500 : 8000);
}

// -- editing a text in place

function edit(card) {
  const id = card.dataset.id;
  if (!shared.drafts.has(id)) shared.drafts.set(id, card.querySelector(".eh-text").textContent);
  placeEditor(card);
  editors.get(id).field.focus();
}

function placeEditor(card) {
  const id = card.dataset.id;
  let editor = editors.get(id);
  if (!editor) {
    const words = wordsOf(card), name = `eh-edit-${id}`;
    const field = make("textarea", { id: name, dir: "auto", rows: "4", "data-focus": `text-${id}`, "aria-describedby": `${name}-hint` });
    field.value = shared.drafts.get(id);
    const button = (action, kind) =>
      make("button", { type: "button", class: `eh-button ${kind}`, "data-action": action, "data-id": id, "data-focus": `${action}-${id}` }, words[action]);
    const state = make("p", { class: "eh-editor-state", role: "status" });
    const node = make(
      "div", { class: "eh-editor" },
      make("label", { for: name }, words.edit_label.replace("{title}", () => card.dataset.title)),
      field, state,
      make("p", { class: "eh-quiet", id: `${name}-hint` }, words.edit_hint),
      make("div", { class: "eh-row-actions" }, button("save", "eh-primary"), button("cancel", "")),
    );
    editor = { node, field, state, words, shown: null, saving: null, asked: 0, timer: 0 };
    editors.set(id, editor);
    field.addEventListener("input", () => {
      shared.drafts.set(id, field.value);
      if (field.value === card.querySelector(".eh-text").textContent) shared.typed.delete(id);
      else shared.typed.add(id);
      editor.saving = null;
      window.clearTimeout(editor.timer);
      editor.timer = window.setTimeout(measure, 250, id);
    });
    field.addEventListener("keydown", (event) => {
      if (event.key === "Escape") close(id);
      else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) save(id);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    if (field.value !== card.querySelector(".eh-text").textContent) measure(id);
  }
  editor.before = barsOf(card);
  const slot = card.querySelector("[data-slot=editor]");
  if (editor.node.parentNode !== slot) slot.replaceChildren(editor.node);
  if (editor.shown) showBars(card, editor.shown);
}

async function measure(id) {
  const editor = editors.get(id), section = sectionOf(editor.node), text = editor.field.value;
  const number = ++editor.asked;
  if (!text.trim() || !section) return;
  editor.state.textContent = editor.words.measuring;
  let answer;
  try {
    answer = await server.score_text(section.dataset.session, id, text, section.dataset.language);
  } catch {
    answer = { error: editor.words.failed };
  }
  if (number !== editor.asked || editors.get(id) !== editor) return; // a later wording is being measured, or none
  if (!answer || answer.error || typeof answer.score_a !== "number") {
    editor.state.textContent = answer?.error ?? editor.words.failed;
    return;
  }
  const { score_a: a, score_b: b, score_error_a: errorA, score_error_b: errorB, words } = answer;
  editor.shown = { a: [100 * a, 100 * errorA], b: [100 * b, 100 * errorB], words }; // NaN where the error is not known
  editor.state.textContent = `${words} (${editor.words.unsaved})`;
  if (cardOf(editor.node)) showBars(cardOf(editor.node), editor.shown);
}

const bars = (card) => card.querySelectorAll(":scope > .eh-balance [role=meter]");

function barsOf(card) {
  const [a, b] = [...bars(card)].map((bar) => {
    const [fill, whisker] = bar.children;
    return [Number.parseFloat(fill.style.width), Number.parseFloat(whisker.dataset.error)];
  });
  return { a, b, words: card.querySelector(".eh-words").textContent };
}

function showBars(card, shown) {
  for (const bar of bars(card)) {
    const [fill, whisker] = bar.children, [percent, error] = shown[bar.dataset.side];
    const rounded = String(Math.round(percent)), sure = !Number.isFinite(error), within = sure ? "" : String(Math.round(error));
    const low = Math.max(0, percent - error), high = Math.min(100, percent + error);
    fill.style.width = `${percent.toFixed(1)}%`;
    whisker.dataset.error = within;
    if (!sure) {
      whisker.style.setProperty("--eh-low", `${low.toFixed(1)}%`);
      whisker.style.setProperty("--eh-wide", `${(high - low).toFixed(1)}%`);
    }
    const said = sure ? bar.dataset.said : bar.dataset.unsure;
    bar.setAttribute("aria-valuetext", said.replace("{number}", rounded).replace("{error}", within));
    bar.setAttribute("aria-valuenow", rounded);
  }
  card.querySelector(".eh-words").textContent = shown.words;
}

function save(id) {
  const editor = editors.get(id), text = editor.field.value;
  if (!text.trim()) return editor.field.focus();
  if (text.trim() === cardOf(editor.node).querySelector(".eh-text").textContent.trim()) return close(id);
  window.clearTimeout(editor.timer);
  editor.saving = text.trim(); // the editor closes when the card comes back with this text: until then nothing is lost
  send({ action: "edit", id, text });
}

function close(id) {
  const editor = editors.get(id), card = cardOf(editor.node);
  forget(id);
  editor.node.remove();
  if (!card) return;
  if (editor.shown) showBars(card, editor.before);
  card.querySelector("[data-action=edit]").focus();
}

function forget(id) {
  window.clearTimeout(editors.get(id)?.timer);
  editors.delete(id);
  shared.drafts.delete(id);
  shared.typed.delete(id);
}

// -- panels that the server fills when they are opened, once for each wording: which sentence tilts it, how acceptable

async function fillPanel(slot) {
  const section = sectionOf(slot), { id, wording, ask } = slot.dataset;
  const key = `${ask} ${id} ${wording} ${section.dataset.language}`;
  if (slot.dataset.filled === key && slot.hasChildNodes()) return;
  slot.dataset.filled = key;
  if (typeof shared.panels.get(key) === "string") slot.innerHTML = shared.panels.get(key);
  else {
    slot.textContent = wordsOf(slot).measuring;
    try {
      if (!shared.panels.has(key))
        shared.panels.set(key, server[ask](section.dataset.session, id, section.dataset.language));
      const html = await shared.panels.get(key);
      if (typeof html !== "string") throw new TypeError("no text");
      shared.panels.set(key, html);
      if (html.includes("eh-status-error")) window.setTimeout(() => shared.panels.delete(key)); // to be asked again
    } catch {
      shared.panels.delete(key);
      delete slot.dataset.filled;
      slot.textContent = wordsOf(slot).failed;
      return;
    }
    for (const other of element.querySelectorAll(`[data-ask=${ask}]`)) {
      if (other.dataset.id === id && other.dataset.wording === wording) {
        other.innerHTML = shared.panels.get(key);
        other.dataset.filled = key;
      }
    }
  }
}

element.addEventListener("toggle", (event) => {
  const details = event.target, key = details.dataset?.key;
  if (!key) return;
  if (details.open) shared.open.add(key);
  else shared.open.delete(key);
  const panel = details.querySelector("[data-ask]");
  if (details.open && panel) fillPanel(panel);
}, true);

// -- notes beside ratings

element.addEventListener("input", (event) => {
  if (event.target.dataset.keep) shared.notes.set(event.target.dataset.keep, event.target.value);
});
element.addEventListener("change", (event) => {
  const field = event.target;
  if (!field.dataset.note || field.value === field.getAttribute("value")) return;
  const rater = field.closest(".eh-rater"), chosen = rater.querySelector("[role=radio][aria-checked=true]");
  if (chosen) press(chosen);
  else rater.querySelector(".eh-rating-word").textContent = wordsOf(field).note_waits;
});

// -- what is typed on a card is saved by a press only: the browser asks before it goes

function isUnsaved([key, typed]) {
  const field = document.querySelector(`[data-keep="${quoted(key)}"]`);
  return typed !== (field?.getAttribute("value") ?? "");
}
if (!shared.asks) {
  shared.asks = true;
  window.addEventListener("beforeunload", (event) => {
    if (!shared.leaving && (shared.typed.size || [...shared.notes].some(isUnsaved))) event.preventDefault();
  });
}

// -- the arrow keys: among the numbers of a rating, and among the points of the plane

element.addEventListener("keydown", (event) => {
  const { target, key } = event;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (key === "Escape" && tip.point) hideTip();
  const point = target.closest?.("svg[data-action]"), radio = target.closest?.("[role=radio]");
  if (point && (key === "Enter" || key === " ")) press(point);
  else if (point && step(point, key)) rove(point, step(point, key));
  else if (radio && besides(radio, key)) rove(radio, besides(radio, key));
  else return;
  event.preventDefault();
});

function rove(from, to) {
  from.setAttribute("tabindex", "-1");
  to.setAttribute("tabindex", "0");
  to.focus();
}

function besides(radio, key) {
  const all = [...radio.parentElement.children], here = all.indexOf(radio);
  const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[key];
  if (key === "Home" || key === "End") return all.at(key === "Home" ? 0 : -1);
  return by && all[(here + by + all.length) % all.length];
}

function step(point, key) {
  const by = { ArrowLeft: ["gap", -1], ArrowRight: ["gap", 1], ArrowDown: ["warmth", -1], ArrowUp: ["warmth", 1] };
  const [name, direction] = by[key] ?? [key === "Home" || key === "End" ? "gap" : null, 0];
  if (!name) return null;
  const other = name === "gap" ? "warmth" : "gap";
  const all = [...point.closest("[data-plane]").querySelectorAll("svg[data-action]")].sort(
    (one, two) => one.dataset[name] - two.dataset[name] || one.dataset[other] - two.dataset[other],
  );
  if (!direction) return all.at(key === "Home" ? 0 : -1);
  return all[all.indexOf(point) + direction] ?? point;
}

// -- what a point of the plane says

const tip = { point: null, touched: null, timer: 0 };

function showTip(point) {
  window.clearTimeout(tip.timer);
  const plot = point.closest(".eh-plot"), panel = plot.querySelector(".eh-tip");
  const { title, said, text } = point.dataset;
  tip.point = point;
  panel.replaceChildren(
    make("strong", {}, title), make("span", { class: "eh-quiet" }, said), make("p", { dir: "auto" }, text),
  );
  panel.hidden = false;
  const room = point.closest("[data-plane]").getBoundingClientRect(), area = plot.getBoundingClientRect();
  const size = panel.getBoundingClientRect(), shape = point.querySelector(".eh-shape").getBoundingClientRect();
  const x = shape.x + shape.width / 2, y = shape.y + shape.height / 2, away = 16;
  const left = Math.max(room.left, Math.min(x - size.width / 2, room.right - size.width));
  const under = y + away + size.height <= room.bottom, over = y - away - size.height >= room.top;
  const top = under ? y + away : over ? y - away - size.height : Math.max(room.top, room.bottom - size.height);
  panel.style.left = `${left - area.left}px`;
  panel.style.top = `${top - area.top}px`;
}

function hideTip() {
  window.clearTimeout(tip.timer);
  for (const panel of element.querySelectorAll(".eh-tip")) panel.hidden = true;
  tip.point = null;
}

const pointOf = (node) => node.closest?.("svg[data-action]");
element.addEventListener("pointerover", (event) => {
  if (pointOf(event.target)) showTip(pointOf(event.target));
  else if (event.target.closest(".eh-tip")) window.clearTimeout(tip.timer);
});
element.addEventListener("pointerout", (event) => {
  if (event.pointerType === "touch" || !tip.point || tip.point === document.activeElement) return;
  window.clearTimeout(tip.timer);
  tip.timer = window.setTimeout(hideTip, 150);
});
element.addEventListener("pointerdown", (event) => {
  const point = pointOf(event.target);
  tip.touched = event.pointerType === "touch" && point && tip.pressed !== point ? point : null;
  tip.pressed = point;
});

// -- the focus, and what else lives on when the component is drawn anew

element.addEventListener("focusin", (event) => {
  const { target } = event, key = target.dataset?.focus;
  held = key ? { key, id: target.dataset.id ?? cardOf(target)?.dataset.id } : null;
  if (pointOf(target)) showTip(target);
});
element.addEventListener("focusout", (event) => {
  if (pointOf(event.target)) hideTip();
  window.setTimeout(() => {
    // Somebody looked away; a node that went with the old drawing does not count.
    if (event.target.isConnected && document.activeElement === document.body) held = null;
  });
});
element.addEventListener("scroll", (event) => {
  const { scroll } = event.target.dataset ?? {};
  if (scroll) scrolled.set(scroll, [event.target.scrollLeft, event.target.scrollTop]);
}, true);

function restore() {
  for (const details of element.querySelectorAll("details[data-key]")) details.open = shared.open.has(details.dataset.key);
  for (const card of element.querySelectorAll("[data-card]")) {
    const { id } = card.dataset, editor = editors.get(id);
    if (!shared.drafts.has(id) || !card.querySelector("[data-slot=editor]")) continue;
    if (editor?.saving && editor.saving === card.querySelector(".eh-text").textContent.trim()) {
      forget(id);
      held = { key: `edit-${id}`, id };
    } else placeEditor(card);
  }
  for (const slot of element.querySelectorAll("details[open] > [data-ask]")) fillPanel(slot);
  for (const field of element.querySelectorAll("[data-keep]")) {
    const typed = shared.notes.get(field.dataset.keep);
    if (typed === undefined) continue;
    if (typed === field.getAttribute("value")) shared.notes.delete(field.dataset.keep);
    else field.value = typed;
  }
  for (const frame of element.querySelectorAll("[data-scroll]"))
    [frame.scrollLeft, frame.scrollTop] = scrolled.get(frame.dataset.scroll) ?? [0, 0];
  tip.point = null;
  const question = element.querySelector("[data-autofocus]");
  if (question && asked !== question.dataset.autofocus) question.focus();
  else if (!question && asked && document.activeElement === document.body)
    document.querySelector("#eh-propose:enabled, #eh-stop:enabled")?.focus();
  asked = question?.dataset.autofocus ?? null;
  if (!(shared.wanted && go(shared.wanted))) refocus();
}

function refocus() {
  const active = document.activeElement;
  const lost = !active || active === document.body || (element.contains(active) && active.dataset.focus !== held?.key);
  if (!held || !lost) return;
  const card = held.id && element.querySelector(`[data-card][data-id="${quoted(held.id)}"]`);
  const target = element.querySelector(`[data-focus="${quoted(held.key)}"]`) ?? card?.querySelector("[data-focus]");
  const round = element.querySelector(".eh-trail [aria-current]"); // the card went with its round: where the new one begins
  (target ?? round)?.focus({ preventScroll: true });
}

document.addEventListener("focusin", function elsewhere(event) {
  if (!element.isConnected) document.removeEventListener("focusin", elsewhere);
  else if (!element.contains(event.target)) held = null;
});
watch("value", restore);
restore();
