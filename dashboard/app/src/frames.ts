/** Drawing that keeps up with any rate of events: a few times a second, in one frame each. */

const EVERY_MS = 100;

/**
 * A function that asks for `draw`; however often it is called, `draw` runs at most ten times a
 * second, in an animation frame. People do not read faster, and the page stays free for them.
 */
export function drawing(draw: () => void): () => void {
  let asked = false;
  let drawnMs = -Infinity;
  const run = (): void => {
    asked = false;
    drawnMs = performance.now();
    draw();
  };
  return () => {
    if (asked) return;
    asked = true;
    const waitMs = drawnMs + EVERY_MS - performance.now();
    if (waitMs <= 0) requestAnimationFrame(run);
    else setTimeout(() => requestAnimationFrame(run), waitMs);
  };
}
