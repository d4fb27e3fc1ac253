"""What the browser does by itself on the Mediate tab: its address, its history, when it saves, what it brings in."""

# The page's address names the session, so that a reload, a bookmark and a second window find it. It says too that one
# is private: when that is gone from memory, what is typed on the reloaded page must not be saved on the disk. Of a
# session that it names already it keeps which round is shown, unless there is no such round.
NAME_THE_SESSION = """(id, isPrivate, round) => {
  const address = new URL(window.location.href);
  const before = address.searchParams.get("session");
  if (!id || (before === id && (round || !address.searchParams.has("round")))) return;
  address.search = "?session=" + id + (isPrivate ? "&new=private" : "");
  if (before && before !== id) history.pushState(null, "", address);
  else history.replaceState(null, "", address);
}"""

# An earlier round that is looked back at is named too; 0 is the last one, which needs no name. What answers to Back or
# Forward is named already: of quick presses, answered late, it would make new history.
NAME_THE_ROUND = """(round) => {
  const [followed, since] = (document.documentElement.dataset.followed ?? "").split(" ").map(Number);
  if (since && Date.now() - since < 5000) {
    if (followed === round) delete document.documentElement.dataset.followed;
    return;
  }
  delete document.documentElement.dataset.followed;
  const address = new URL(window.location.href), named = address.searchParams;
  if (!named.has("session") || Number(named.get("round")) === Number(round)) return;
  if (round) named.set("round", round);
  else named.delete("round");
  history.pushState(null, "", address);
}"""

# Sessions that one page showed after another share its document, also after a reload: Back and Forward then change the
# address and nothing else. A page that the browser had put aside whole has no connection to the app any more.
_FOLLOW_THE_ADDRESS = """
const named = (name) => new URL(window.location.href).searchParams.get(name);
const shown = (id) => document.querySelector(`#${id} :is(input, textarea)`)?.value;
window.addEventListener("popstate", () => {
  const round = Number(named("round")), { followed } = document.documentElement.dataset;
  if (named("session") !== shown("eh-session-id")) window.location.reload();
  else if (followed || round !== Number(shown("eh-shown"))) {
    document.documentElement.dataset.followed = `${round} ${Date.now()}`;
    trigger("act", { action: "show", round });
  }
});
window.addEventListener("pageshow", (event) => { if (event.persisted) window.location.reload(); });
"""

# A button that is disabled while a writer writes would drop the focus of whoever pressed it by keyboard: it goes to the
# one that stands in for it, and back when that is done, unless somebody moved on. Not so after a mouse: there a space
# scrolls the page. What is held down or pressed twice was meant for the first button: it must not stop the round. Where
# another window began it, Stop would be under a finger that means something else: the line of status has it then.
_KEEP_THE_FOCUS = """
const instead = { "eh-propose": "eh-stop", "eh-stop": "eh-propose", "eh-run-audit": "eh-audit" };
let left = null; // the button that has the keyboard's focus, or had it when it was disabled
let pressed = null; // the one that was pressed here
let moved = { to: null, since: 0 };
const oneOf = (node) => (instead[node.id] ? node : null);
document.addEventListener("focusin", ({ target }) => {
  if (target !== moved.to || oneOf(target)) left = target.matches(":focus-visible") ? oneOf(target) : null;
});
document.addEventListener("pointerdown", () => { left = null; });
document.addEventListener("click", ({ target, detail }) => {
  if (!detail && target === document.activeElement) left = pressed = oneOf(target);
}, true);
document.addEventListener("keydown", (event) => {
  const early = event.repeat || performance.now() - moved.since < 500;
  if (event.target === moved.to && early && ["Enter", " "].includes(event.key)) event.preventDefault();
}, true);
const moveTo = (node) => {
  if (!node || node.disabled) return;
  if (node.tagName !== "BUTTON") node.tabIndex = -1;
  moved = { to: node, since: performance.now() };
  node.focus({ preventScroll: true });
  left = oneOf(node) ?? left;
  pressed = null;
};
new MutationObserver(() => {
  const here = document.activeElement;
  if (left?.disabled) {
    const to = left.id === "eh-propose" && left !== pressed ? "eh-status" : instead[left.id];
    if (here === left || here === document.body) moveTo(document.getElementById(to));
  } else if (left && !oneOf(here) && [instead[left.id], "eh-status"].includes(here.id)) moveTo(left);
}).observe(page, { subtree: true, attributeFilter: ["disabled"] });
"""

# What is typed is saved when the typing pauses, and at once when a field or the page is left. A file or an example that
# is chosen is saved by who opens it: here it would be answered with what the page showed before.
_SAVE_WHAT_IS_TYPED = """
let waiting;
const save = () => { if (waiting) { clearTimeout(waiting); waiting = undefined; trigger("typed", {}); } };
const later = () => { clearTimeout(waiting); waiting = setTimeout(save, 400); };
const page = element.closest(".tabitem") || document;
page.addEventListener("input", (event) => { if (!event.target.closest("[type=file], #eh-example")) later(); });
page.addEventListener("focusout", save);
document.addEventListener("visibilitychange", save);
window.addEventListener("pagehide", save);
"""

ON_LOAD = _SAVE_WHAT_IS_TYPED + _FOLLOW_THE_ADDRESS + _KEEP_THE_FOCUS
"""Runs once, when the tab is there; triggers the events "typed" and "act"."""

# On a small screen the proposals are below the edge: bring them in, so that pressing Propose is seen to do something.
SHOW_RESULTS = """(...values) => {
  const results = document.getElementById("eh-status");
  if (results && results.getBoundingClientRect().top > window.innerHeight * 0.6) {
    const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    results.scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "start" });
  }
  return values;
}"""
