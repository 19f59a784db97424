// Numbers and times for people.

export const DASH = "–";

const NUMBER = new Intl.NumberFormat("en");
const COMPACT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const CLOCK = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hour12: false,
});

export const count = (value) => (value < 10_000 ? NUMBER.format(value) : COMPACT.format(value));

export const clock = (at) => CLOCK.format(new Date(at));

/** A time in milliseconds: `85 ms`, `1.24 s`, `2 min 5 s`. */
export function duration(ms) {
  if (ms === null || ms === undefined) return DASH;
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 10_000) return `${(ms / 1_000).toFixed(2)} s`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(1)} s`;
  const minutes = Math.floor(ms / 60_000);
  const seconds = Math.floor((ms % 60_000) / 1_000);
  return minutes < 60 ? `${minutes} min ${seconds} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** A set time, without decimals that are zero: `5 s`, `1.5 s`. */
export const setTime = (ms) =>
  ms < 1_000 || ms >= 60_000 ? duration(ms) : `${Number((ms / 1_000).toFixed(2))} s`;

/** The seconds that are left: `4.2 s`, `38 s`. */
export function countdown(ms) {
  const seconds = Math.max(ms, 0) / 1_000;
  return seconds < 10 ? `${seconds.toFixed(1)} s` : duration(Math.ceil(seconds) * 1_000).replace(".0", "");
}

/** A rate per second: `0`, `0.4`, `12`. */
export function rate(value) {
  if (value === 0) return "0";
  return value < 10 ? value.toFixed(1) : count(Math.round(value));
}

export const percent = (share) => `${Math.round(100 * share)} %`;

export function median(values) {
  if (values.length === 0) return null;
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.floor(sorted.length / 2)];
}
