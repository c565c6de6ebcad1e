/** How a subscriber stands, for people to see. */

import type { SubscriberState } from "./options.js";
import type { Switch } from "./switch.js";
import type { TransportName, TransportState } from "./transport.js";

/**
 * The state from the switch, the transports that serve the streams there are, the wall clock
 * (milliseconds) at which each transport last brought a head, the transports' own states, the
 * streams that have a hole, and how long without a head is too long.
 */
export function stateOf(
  moving: Switch,
  sides: ReadonlySet<TransportName>,
  heardMs: Readonly<Record<TransportName, number | null>>,
  transports: Readonly<Record<TransportName, TransportState>>,
  holes: number,
  deafMs: number,
): SubscriberState {
  const serving = { websocket: moving.served("websocket"), realtime: moving.served("realtime") };
  // A partition without a stream has no heads: it says nothing of who serves, or how recently.
  const names = (["websocket", "realtime"] as const).filter((name) =>
    sides.size > 0 ? sides.has(name) : serving[name] > 0,
  );
  const heard = names.map((name) => heardMs[name]);
  const known = heard.flatMap((at) => (at === null ? [] : [at]));
  const asOfMs = known.length && known.length === heard.length ? Math.min(...known) : null;
  const single = names.length === 1 ? (names[0] ?? "none") : "both";
  return {
    source: known.length === 0 ? "none" : single,
    serving,
    moving: moving.moving,
    fallenBack: moving.fallenBack,
    asOfMs,
    live: asOfMs !== null && Date.now() - asOfMs <= deafMs,
    holes,
    flagVersion: moving.version,
    transports,
  };
}
