/** The load of the hosts: the newest sample of each, and a bounded hour of history. Pure. */

import { epoch } from "./format.js";

const HOUR = 3_600_000;
const MAX_SAMPLES = 1_000;
const USUAL_INTERVAL = 5_000;
const INTERVALS_SEEN = 12;
const STALE_INTERVALS = 3;

export class Hosts {
  /** Host name → {latest, measuredAt, samples: [{t, cpu, memory, disk, received, sent}], gaps} */
  #hosts = new Map();
  #seeded = [];

  get names() {
    return [...this.#hosts.keys()].sort();
  }

  get(name) {
    return this.#hosts.get(name);
  }

  /** Takes a sample in, unless it is older than what is known. The same one may come again with more fields. */
  add(resources, now) {
    if (!resources) return;
    const at = epoch(resources.timestamp);
    const host = this.#host(resources.host ?? "");
    if (!Number.isFinite(at) || at < host.at) return;
    const rates = traffic(host, resources.network_stats, at);
    if (at > host.at) {
      if (host.at) host.gaps = [...host.gaps.slice(1 - INTERVALS_SEEN), at - host.at];
      host.samples.push({ t: at, cpu: resources.cpu_usage, memory: resources.memory_usage, disk: resources.disk_usage });
      Object.assign(host, { at, measuredAt: now });
    }
    Object.assign(host.samples.at(-1), rates);
    if (rates) host.rates = rates;
    host.latest = { ...host.latest, ...resources };
    const first = host.samples.findIndex((sample) => sample.t > at - HOUR);
    host.samples.splice(0, Math.max(first, host.samples.length - MAX_SAMPLES));
  }

  /** Fills the hour before the first sample from the server's own trend (means over all hosts). */
  seed(metrics) {
    const usage = metrics?.resource_usage;
    if (!usage?.timestamps?.length) return;
    const end = epoch(metrics.timestamp);
    const times = trendTimes(usage.timestamps, end);
    this.#seeded = times
      .map((t, place) => ({ t, cpu: usage.cpu_trend?.[place], memory: usage.memory_trend?.[place] }))
      .filter((sample) => Number.isFinite(sample.t) && sample.t > end - HOUR);
  }

  /** The last hour of a host, oldest first; the server's trend stands in for what this page did not see. */
  history(name) {
    const samples = this.#hosts.get(name)?.samples ?? [];
    const first = samples[0]?.t ?? Infinity;
    return [...this.#seeded.filter((sample) => sample.t < first), ...samples];
  }

  /** Milliseconds between two samples of a host, as it really sends them: of two gaps the shorter, since one may be a pause. */
  interval(name) {
    const gaps = [...(this.#hosts.get(name)?.gaps ?? [])].sort((one, other) => one - other);
    return gaps.length ? gaps[(gaps.length - 1) >> 1] : USUAL_INTERVAL;
  }

  /** Whether the newest sample is older than three intervals. */
  isStale(name, now) {
    const host = this.#hosts.get(name);
    return !host || this.isOld(host.measuredAt, name, now);
  }

  /** Whether what was measured on a host is older than three of its intervals. */
  isOld(measuredAt, name, now) {
    return now - measuredAt > STALE_INTERVALS * this.interval(name);
  }

  #host(name) {
    if (!this.#hosts.has(name)) {
      this.#hosts.set(name, { at: 0, latest: {}, samples: [], gaps: [], counters: null, rates: {}, measuredAt: 0 });
    }
    return this.#hosts.get(name);
  }
}

/** Bytes per second since the last counters; null without news, nothing after a restart, when they fall. */
function traffic(host, counters, at) {
  const before = host.counters;
  if (!counters || (before && at <= before.at)) return null;
  host.counters = { ...counters, at };
  if (!before) return null;
  if (counters.bytes_recv < before.bytes_recv || counters.bytes_sent < before.bytes_sent) return {};
  const seconds = (at - before.at) / 1000;
  return {
    received: (counters.bytes_recv - before.bytes_recv) / seconds,
    sent: (counters.bytes_sent - before.bytes_sent) / seconds,
  };
}

/** Epoch milliseconds of a trend's labels, which are ISO times or "HH:MM" in UTC, going back from `end`. */
export function trendTimes(labels, end) {
  let later = end;
  const times = [];
  for (const label of [...labels].reverse()) {
    later = /^\d\d:\d\d(:\d\d)?$/.test(label) ? lastTimeOfDay(label, later) : Date.parse(label);
    times.unshift(later);
  }
  return times;
}

function lastTimeOfDay(label, notAfter) {
  const [hours, minutes, seconds = 0] = label.split(":").map(Number);
  const day = new Date(notAfter);
  const at = Date.UTC(day.getUTCFullYear(), day.getUTCMonth(), day.getUTCDate(), hours, minutes, seconds);
  return at > notAfter ? at - 24 * HOUR : at;
}
