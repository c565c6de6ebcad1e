/** Measures in the real browser how long a page takes until its data is live. */

import type { Subscriber } from "@crossfade/client";

/**
 * Begin to measure; `live` once the data is live. The figure is from `startMs` on: the start of
 * the navigation, or the sign-in where a person had to give a token. It travels with the subscriber's
 * reports as `dashboard.load` (milliseconds), beside `dashboard.errors` and
 * `dashboard.long_task` (the longest, in milliseconds).
 */
export function measureLoad(startMs: number): { live: (subscriber: Subscriber) => void } {
  let errors = 0;
  let longest = 0;
  let told: Subscriber | null = null;
  const failed = (): void => {
    errors++;
    told?.measure("dashboard.errors", errors);
  };
  addEventListener("error", failed);
  addEventListener("unhandledrejection", failed);
  if (PerformanceObserver.supportedEntryTypes.includes("longtask")) {
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) longest = Math.max(longest, entry.duration);
      told?.measure("dashboard.long_task", Math.round(longest));
    }).observe({ type: "longtask", buffered: true });
  }
  return {
    live: (subscriber) => {
      if (told !== null) return;
      told = subscriber;
      performance.mark("crossfade-live");
      subscriber.measure("dashboard.load", Math.round(performance.now() - startMs));
      subscriber.measure("dashboard.errors", errors);
      subscriber.measure("dashboard.long_task", Math.round(longest));
    },
  };
}
