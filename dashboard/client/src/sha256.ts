/**
 * SHA-256 (FIPS 180-4), synchronous: routing is asked per event and must not wait, and
 * WebCrypto's digest is asynchronous and missing on pages without TLS.
 */

// The first 32 bits of the fractional parts of the square and cube roots of the first primes.
const primes: number[] = [];
for (let n = 2; primes.length < 64; n++) {
  if (primes.every((prime) => n % prime)) primes.push(n);
}
const fraction = (value: number): number => ((value - Math.floor(value)) * 2 ** 32) | 0;
const INITIAL = primes.slice(0, 8).map((prime) => fraction(prime ** (1 / 2)));
const ROUND = primes.map((prime) => fraction(Math.cbrt(prime)));

const encoder = new TextEncoder();
const schedule = new Int32Array(64);

/** The first 64 bits of the digest of `text` (as UTF-8): a high and a low half, unsigned. */
export function sha256First64(text: string): [high: number, low: number] {
  const input = encoder.encode(text);
  const blocks = (input.length + 72) >> 6;
  const padded = new Uint8Array(blocks << 6);
  padded.set(input);
  padded[input.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setUint32(padded.length - 8, Math.floor(input.length / 2 ** 29));
  view.setUint32(padded.length - 4, input.length << 3);
  const state = Int32Array.from(INITIAL);
  for (let block = 0; block < padded.length; block += 64) compress(state, view, block);
  return [(state[0] as number) >>> 0, (state[1] as number) >>> 0];
}

function compress(state: Int32Array, view: DataView, block: number): void {
  const w = schedule;
  for (let i = 0; i < 16; i++) w[i] = view.getInt32(block + i * 4);
  for (let i = 16; i < 64; i++) {
    const x = w[i - 15] as number;
    const y = w[i - 2] as number;
    const s0 = rotate(x, 7) ^ rotate(x, 18) ^ (x >>> 3);
    const s1 = rotate(y, 17) ^ rotate(y, 19) ^ (y >>> 10);
    w[i] = ((w[i - 16] as number) + s0 + (w[i - 7] as number) + s1) | 0;
  }
  let [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0] = state;
  for (let i = 0; i < 64; i++) {
    const s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
    const t1 = (h + s1 + ((e & f) ^ (~e & g)) + (ROUND[i] as number) + (w[i] as number)) | 0;
    const s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
    const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    [h, g, f, e, d, c, b, a] = [g, f, e, (d + t1) | 0, c, b, a, (t1 + t2) | 0];
  }
  [a, b, c, d, e, f, g, h].forEach((value, i) => {
    state[i] = (state[i] as number) + value;
  });
}

function rotate(value: number, bits: number): number {
  return (value >>> bits) | (value << (32 - bits));
}
