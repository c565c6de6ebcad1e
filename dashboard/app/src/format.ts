/** Numbers, times and spans as people read them. */

const whole = new Intl.NumberFormat("en");

/** 12,345 */
export function count(value: number): string {
  return whole.format(Math.round(value));
}

/** Three significant digits at most, without a tail of zeros. */
export function figure(value: number): string {
  if (value === 0 || !Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size >= 1_000) return count(value);
  return String(Number(value.toPrecision(3)));
}

/** 5 ms, 1.2 s, 3 min, 2 h, 4 d */
export function span(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1_000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3_600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

/** A countdown to the second: 4 s, 3:05, 2:03:05, 3 d 4 h */
export function countdown(ms: number): string {
  const seconds = Math.max(0, Math.ceil(ms / 1_000));
  if (seconds < 60) return `${seconds} s`;
  const [h, m, s] = [Math.floor(seconds / 3_600), Math.floor(seconds / 60) % 60, seconds % 60];
  const two = (value: number): string => String(value).padStart(2, "0");
  if (h >= 48) return `${Math.floor(h / 24)} d ${h % 24} h`;
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** 14:03:07 in the person's zone */
export function clock(atMs: number): string {
  return new Date(atMs).toLocaleTimeString("en-GB");
}

/** 24 Nov 14:03:07 */
export function moment(atMs: number): string {
  const day = new Date(atMs).toLocaleDateString("en-GB", { day: "numeric", month: "short" });
  return `${day} ${clock(atMs)}`;
}

/** `awaiting_approval` as words */
export function words(name: string): string {
  return name.replaceAll("_", " ");
}

/** 1 event, 2 events */
export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${Math.round(value) === 1 ? one : many}`;
}
