/** Text, numbers and times as people read them. Pure. */

// A string command (OSC, DCS, …) must end in its own line: an unfinished one must not swallow what follows.
const STRING_COMMAND = /(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)/g;
const CONTROL_SEQUENCE = /(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]/g;
const OTHER_ESCAPE = /\x1b[ -/]*[0-~]/g;
const LINE_BREAK = /\r\n?|[\u2028\u2029\x85]/g;
const CONTROL = /[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff]/g;
// Could reorder what stands around them ("Trojan source"); letters of right-to-left scripts need none of them.
const BIDI_CONTROL = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
const NEEDS_CLEANING = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/;

/** Text from an agent without anything that is not text: no ANSI, control or bidirectional control characters. */
export function plain(text) {
  const given = typeof text === "string" ? text : String(text ?? "");
  if (!NEEDS_CLEANING.test(given)) return given;
  return given
    .replace(STRING_COMMAND, "")
    .replace(CONTROL_SEQUENCE, "")
    .replace(OTHER_ESCAPE, "")
    .replace(LINE_BREAK, "\n")
    .replace(CONTROL, "")
    .replace(BIDI_CONTROL, "");
}

/** The first line that says something, clipped. */
export function firstLine(text, limit = 300) {
  const start = plain(typeof text === "string" ? text.slice(0, 20 * limit) : text);
  const line = start.split("\n").find((part) => part.trim()) ?? "";
  return line.length > limit ? `${line.slice(0, limit).trimEnd()}…` : line.trim();
}

const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat(undefined, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const upToTenths = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });

/** A whole number with the reader's separators; a dash for what is not known. */
export const count = (number) => (Number.isFinite(number) ? whole.format(number) : "–");

/** "12 %"; a dash for what is not known. */
export const percent = (number) => (Number.isFinite(number) ? `${whole.format(number)} %` : "–");

/** "12.5 ms"; a dash for what is not known. */
export const milliseconds = (number) =>
  Number.isFinite(number) ? `${(number < 100 ? upToTenths : whole).format(number)} ms` : "–";

function scaled(number, base, units) {
  if (!Number.isFinite(number)) return "–";
  let value = Math.max(0, number);
  let unit = 0;
  while (value >= base * 0.9995 && unit < units.length - 1) {
    value /= base;
    unit += 1;
  }
  return `${(unit > 0 && value < 9.95 ? tenths : whole).format(value)} ${units[unit]}`;
}

/** Memory, in powers of 1024. */
export const memory = (bytes) => scaled(bytes, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]);

/** Disk space and traffic, in powers of 1000. */
export const bytes = (number) => scaled(number, 1000, ["B", "kB", "MB", "GB", "TB", "PB"]);

const pad = (number) => String(number).padStart(2, "0");

/** "7 s", "3 min 07 s", "2 h 05 min", "3 d 4 h". */
export function duration(ms) {
  if (!Number.isFinite(ms)) return "–";
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${pad(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h ${pad(minutes % 60)} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** How long something took: like `duration`, but a short time has tenths. */
export const took = (ms) => (ms >= 0 && ms < 10_000 ? `${tenths.format(ms / 1000)} s` : duration(ms));

/** "just now", "40 s ago", "12 min ago", "3 h ago", "5 d ago": coarse on purpose, the exact time is on hover. */
export function ago(ms) {
  if (!Number.isFinite(ms)) return "";
  const seconds = Math.floor(ms / 1000);
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

const clockTime = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const shortTime = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const fullTime = new Intl.DateTimeFormat(undefined, {
  year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit",
  fractionalSecondDigits: 3, hourCycle: "h23", timeZoneName: "short",
});

/** Epoch milliseconds of a time of the protocol (ISO text or epoch seconds); NaN for none. */
export function epoch(time) {
  if (typeof time === "number") return time * 1000;
  return typeof time === "string" ? Date.parse(time) : NaN;
}

const formatted = (format) => (ms) => (Number.isFinite(ms) ? format.format(ms) : "–");

/** Local time of day with seconds. */
export const timeOfDay = formatted(clockTime);
/** Local hours and minutes. */
export const hourMinute = formatted(shortTime);
/** Local date and time to the millisecond, with the zone. */
export const exactTime = formatted(fullTime);

/** Dollars of a run: as many digits as it takes to tell it from nothing. */
export function dollars(cost) {
  const value = Number(cost);
  if (cost === null || cost === undefined || !Number.isFinite(value)) return "–";
  return `$${value.toFixed(value !== 0 && value < 1 ? 4 : 2)}`;
}

/** "one task", "3 tasks". */
export const counted = (number, one, many = `${one}s`) => (number === 1 ? `one ${one}` : `${count(number)} ${many}`);
