/** Tells when a page has slept: hidden, frozen, in standby, or without a network. */

const EVERY_MS = 1_000;
/** A timer late by more than this was not throttled but asleep. */
const ASLEEP_MS = 10_000;

/**
 * Call `wake` with how long the page slept (milliseconds) when it is shown again, comes back
 * from the back-forward cache or from standby, or when the network is back; `sleep` when it is
 * hidden or left, the last moment that is sure to come. Returns what ends it.
 */
export function onWake(
  wake: (asleepMs: number, online: boolean) => void,
  sleep: () => void,
): () => void {
  if (typeof document === "undefined") return () => undefined;
  let hiddenMs = Date.now();
  let lookedMs = Date.now();
  // The wall clock goes on in standby, where the monotonic one may stand.
  const timer = setInterval(() => {
    const gapMs = Date.now() - lookedMs;
    lookedMs = Date.now();
    if (gapMs > ASLEEP_MS && document.visibilityState === "visible") wake(gapMs, false);
  }, EVERY_MS);
  const visibility = (): void => {
    if (document.visibilityState === "hidden") {
      hiddenMs = Date.now();
      sleep();
    } else {
      lookedMs = Date.now();
      wake(Date.now() - hiddenMs, false);
    }
  };
  const shown = ({ persisted }: PageTransitionEvent): void => {
    if (persisted) wake(Date.now() - hiddenMs, true);
  };
  const left = (): void => {
    hiddenMs = Date.now();
    sleep();
  };
  const online = (): void => wake(0, true);
  // A frozen page (battery saver, many tabs) is woken without having been hidden.
  const resumed = (): void => wake(Date.now() - lookedMs, false);
  document.addEventListener("visibilitychange", visibility);
  document.addEventListener("resume", resumed);
  window.addEventListener("pageshow", shown);
  window.addEventListener("pagehide", left);
  window.addEventListener("online", online);
  return () => {
    clearInterval(timer);
    document.removeEventListener("visibilitychange", visibility);
    document.removeEventListener("resume", resumed);
    window.removeEventListener("pageshow", shown);
    window.removeEventListener("pagehide", left);
    window.removeEventListener("online", online);
  };
}
