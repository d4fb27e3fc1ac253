"""What the browser does by itself on the Mediate tab: its address, its history, when it saves, what it brings in."""

# The page's address names the session, so that a reload, a bookmark and a second window find it. It says too that one
# is private: when that is gone from memory, what is typed on the reloaded page must not be saved on the disk.
NAME_THE_SESSION = """(id, isPrivate) => {
  const address = new URL(window.location.href);
  const before = address.searchParams.get("session");
  if (!id || before === id) return;
  address.search = "?session=" + id + (isPrivate ? "&new=private" : "");
  if (before) history.pushState(null, "", address);
  else history.replaceState(null, "", address);
}"""

# Sessions that one page showed after another share its document, also after a reload: Back and Forward then change the
# address and nothing else. A page that the browser had put aside whole has no connection to the app any more.
_FOLLOW_THE_ADDRESS = """
const named = () => new URL(window.location.href).searchParams.get("session");
const shown = () => document.querySelector("#eh-session-id :is(input, textarea)")?.value;
window.addEventListener("popstate", () => { if (named() !== shown()) window.location.reload(); });
window.addEventListener("pageshow", (event) => { if (event.persisted) window.location.reload(); });
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

ON_LOAD = _SAVE_WHAT_IS_TYPED + _FOLLOW_THE_ADDRESS
"""Runs once, when the tab is there; triggers the event "typed"."""

# On a small screen the proposals are below the edge: bring them in, so that pressing Propose is seen to do something.
SHOW_RESULTS = """(...values) => {
  const results = document.getElementById("eh-status");
  if (results && results.getBoundingClientRect().top > window.innerHeight * 0.6) {
    const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    results.scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "start" });
  }
  return values;
}"""
