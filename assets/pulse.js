// Has the page look whether another window changed its session: only when a cheap question says that there is something.
//
// The body of a function that Gradio calls once (js_on_load), with element and trigger; sends the event "look". A page
// that nobody sees does not ask, unless a round is written for it; it asks as soon as it is seen.

const BETWEEN = 3000; // milliseconds between an answer and the next question
const LONGEST = 20000; // milliseconds that an answer may take
let known = null, asking = false, waiting;

async function ask() {
  if (asking || !element.isConnected) return;
  window.clearTimeout(waiting);
  const session = new URL(window.location.href).searchParams.get("session");
  const isWatched = !document.hidden || document.querySelector("#eh-stop:enabled");
  if (session && isWatched) {
    asking = true;
    try {
      const answer = await fetch(`/pulse?session=${encodeURIComponent(session)}`, {
        cache: "no-store", redirect: "error", signal: AbortSignal.timeout(LONGEST),
      });
      if (!answer.ok) throw new Error(String(answer.status));
      const now = `${session} ${await answer.text()}`;
      if (now !== known) trigger("look", {});
      known = now;
    } catch {
      known = null; // the app is not there, or the login has ended
      trigger("look", {}); // Gradio finds so too, says it, and loads the page anew when the app is there again
    }
    asking = false;
  }
  waiting = window.setTimeout(ask, BETWEEN);
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) ask(); });
ask();
