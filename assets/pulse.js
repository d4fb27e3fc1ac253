// Has the page look whether another window changed its session: only when a cheap question says that there is something.
//
// The body of a function that Gradio calls once (js_on_load), with element and trigger; sends the event "look". A page
// that nobody sees does not ask; it does so as soon as it is seen.

const SECONDS = 3; // between two questions
const UNASKED = 10; // after so many answers that say nothing it looks all the same: an answer may have been lost
let known = null, quiet = 0, waiting;

async function ask() {
  window.clearTimeout(waiting);
  if (!element.isConnected) return;
  waiting = window.setTimeout(ask, 1000 * SECONDS);
  const session = new URL(window.location.href).searchParams.get("session");
  if (!session || document.hidden) return;
  try {
    const answer = await fetch(`/pulse?session=${encodeURIComponent(session)}`, { cache: "no-store", redirect: "error" });
    if (!answer.ok) return;
    const now = `${session} ${await answer.text()}`;
    quiet = now === known ? quiet + 1 : 0;
    known = now;
    if (quiet % UNASKED === 0) trigger("look", {});
  } catch {
    known = null; // the app is not there
    trigger("look", {}); // Gradio finds so too, says it, and loads the page anew when the app is there again
  }
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) ask(); });
ask();
