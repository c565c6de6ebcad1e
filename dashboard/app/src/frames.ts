/** Drawing that keeps up with any rate of events: a few times a second, in one frame each. */

const EVERY_MS = 100;

/**
 * A function that asks for `draw`; however often it is called, `draw` runs in an animation frame,
 * at most ten times a second: people do not read faster, and the page stays free for them.
 *
 * `isMuch` tells that more waits than one frame should take: then the next frame is taken at
 * once, so that a high rate makes more frames, not longer ones.
 */
export function drawing(draw: () => void, isMuch: () => boolean = () => false): () => void {
  let state: "idle" | "waiting" | "asked" = "idle";
  let timer: ReturnType<typeof setTimeout> | undefined;
  let drawnMs = -Infinity;
  const run = (): void => {
    state = "idle";
    drawnMs = performance.now();
    draw();
  };
  const ask = (): void => {
    clearTimeout(timer);
    state = "asked";
    requestAnimationFrame(run);
  };
  return () => {
    if (state === "asked") return;
    const waitMs = drawnMs + EVERY_MS - performance.now();
    if (waitMs <= 0 || isMuch()) ask();
    else if (state === "idle") {
      state = "waiting";
      timer = setTimeout(ask, waitMs);
    }
  };
}
