// Lets a page that nobody touches rest. Runs in the page's head, before Gradio's scripts.
//
// Gradio's loading screen counts its seconds with every frame, and goes on when it is gone (6.31): sixty frames a second
// are drawn for as long as the page is open, about a tenth of a processor's core. Its clock, a function without
// parameters that reads the time and asks for the next frame, is slowed; whatever moves on the page is left alone.
(() => {
  const BETWEEN = 500; // milliseconds
  const next = window.requestAnimationFrame.bind(window);
  const isClock = (work) => work.length === 0 && /^\(\)=>\{.{0,80}performance\.now\(\).{0,80}\}$/.test(String(work));
  window.requestAnimationFrame = (work) => {
    if (!isClock(work)) return next(work);
    window.setTimeout(() => next(work), BETWEEN);
    return 0; // the clock never takes back what it asked for
  };
})();
