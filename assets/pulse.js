// Has the page look whether another window changed its session: only when a cheap question says that there is something.
//
// The body of a function that Gradio calls once (js_on_load), with element and trigger; sends the event "look". A page
// that nobody sees does not ask, unless a round is written for it; it asks as soon as it is seen.

const BETWEEN = 3000; // milliseconds between two questions, and longer where an answer takes longer
const LONGEST = 20000; // milliseconds that an answer may take
let known = null, begun = null, asking = false, waiting;

async function ask() {
  window.clearTimeout(waiting);
  if (!element.isConnected) return;
  waiting = window.setTimeout(ask, BETWEEN);
  const session = new URL(window.location.href).searchParams.get("session");
  const isWatched = !document.hidden || document.querySelector("#eh-stop:enabled");
  if (asking || !session || !isWatched) return;
  asking = true;
  let now = null; // the app is not there, or the login has ended: Gradio finds so too, and says it
  try {
    const answer = await fetch(`/pulse?session=${encodeURIComponent(session)}`, {
      cache: "no-store", redirect: "error", signal: AbortSignal.timeout(LONGEST),
    });
    if (answer.ok) now = `${session} ${await answer.text()}`;
  } catch {
    // as above
  } finally {
    asking = false;
  }
  const start = now?.split(" ")[1];
  if (start && begun && start !== begun) return window.location.reload(); // the app was started anew
  begun = start ?? begun;
  const isNews = now === null || now !== known;
  known = now;
  if (isNews) trigger("look", {});
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) ask(); });
ask();
