// What the list of sessions does in the browser: the body of a function that Gradio calls once (js_on_load), with
// element, trigger, watch and server. Buttons with data-action send the event "act".

let turn = "";
let waiting;
const root = () => element.querySelector(".eh-sessions");
const here = () => new URL(window.location.href).searchParams.get("session") ?? "";
const send = (data) => trigger("act", { here: here(), ...data });
const panelOf = (node) => node.closest("[data-panel]");
const chosen = (panel, name) => panel.querySelector(`input[name="eh-${name}"]:checked`)?.value ?? "";
const ticked = (panel) => [...panel.querySelectorAll('input[name="eh-part"]:checked')].map((box) => box.value);

// What will be in the file, as the format and the boxes are now. JSON always holds everything.
function contents(panel) {
  const line = panel.querySelector(".eh-contents");
  if (!line) return;
  const json = chosen(panel, "format") === "json";
  panel.querySelector(".eh-parts").disabled = json;
  line.textContent = JSON.parse(line.dataset.sentences)[json ? "json" : ticked(panel).join(" ")];
}

element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-action]");
  if (!button || !element.contains(button) || button.getAttribute("aria-disabled") === "true") return;
  const { action, id, page } = button.dataset;
  const data = { action, id };
  if (page) data.page = Number(page);
  if (action === "export") {
    const panel = panelOf(button);
    const words = panel.querySelector("textarea").value;
    const parts = ticked(panel);
    Object.assign(data, { format: chosen(panel, "format"), language: chosen(panel, "language"), words, parts });
  }
  send(data);
});

element.addEventListener("submit", (event) => {
  event.preventDefault();
  const panel = panelOf(event.target);
  send({ action: "rename", id: panel.dataset.id, title: panel.querySelector("input").value });
});

element.addEventListener("keydown", (event) => {
  const panel = event.key === "Escape" && panelOf(event.target);
  if (!panel) return;
  event.preventDefault();
  send({ action: "close", id: panel.dataset.id });
});

// How many passages the list of words would replace, while it is typed.
async function preview(panel) {
  const words = panel.querySelector("textarea").value;
  const line = panel.querySelector(".eh-preview");
  const said = words.trim() ? await server.preview([panel.dataset.id, words, root().dataset.language]) : "";
  if (panel.isConnected && panel.querySelector("textarea").value === words) line.textContent = said;
}

element.addEventListener("input", (event) => {
  const panel = panelOf(event.target);
  if (!panel) return;
  contents(panel);
  if (event.target.tagName !== "TEXTAREA") return;
  clearTimeout(waiting);
  waiting = setTimeout(() => preview(panel), 300);
});

watch("value", () => {
  const list = root();
  if (!list) return;
  const text = element.querySelector("[data-panel] textarea");
  if (text) contents(panelOf(text));
  if (text && text.value.trim()) preview(panelOf(text)); // the line was drawn empty again
  if (list.dataset.turn === turn) return;
  turn = list.dataset.turn;
  // What is still typed on the page of a deleted session must not be saved again.
  if (list.dataset.deleted && list.dataset.deleted === here()) {
    if (window.evenhand) window.evenhand.leaving = true;
    return window.location.assign(`${window.location.pathname}#deleted`);
  }
  const target = element.querySelector(`[data-focus="${CSS.escape(list.dataset.focusOn)}"]`);
  if (!target) return;
  target.focus();
  if (target.tagName === "INPUT" && target.type === "text") target.select();
});
