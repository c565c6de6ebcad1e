/** Crossfade in the browser. See README.md for the ten lines that a page needs. */

export { canonicalJson } from "./canonical.js";
export type { Continuity, DeliveryConflict, Lost } from "./continuity.js";
export { ControlClient, type ControlOptions, type FlagSource } from "./control.js";
export { type CrossfadeEvent, type Head, positionText, type Stream } from "./event.js";
export { type FlagsDocument, servedPercent, serves, writes, writtenPercent } from "./flags.js";
export { contentHash, isIntact } from "./hash.js";
export type { Follow } from "./interest.js";
export type { Resume } from "./position.js";
export type { FellBack, SwitchFact, Switched, SwitchFailed } from "./route.js";
export { cohort, partitionOf } from "./routing.js";
export type { Start } from "./facts.js";
export type { SubscriberOptions, SubscriberState } from "./options.js";
export { createSubscriber, type Subscriber } from "./subscriber.js";
export type { Pace } from "./switch.js";
export type { TokenSource, TransportName, TransportState } from "./transport.js";
