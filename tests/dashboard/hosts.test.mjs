// The load of the hosts: rates, history, staleness.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Hosts, trendTimes } from "../../opencode_site/static/dashboard/hosts.js";

const START = Date.parse("2026-05-01T00:10:00Z");
const sample = (seconds, more = {}) => ({ host: "one", cpu_usage: 10, memory_usage: 20, disk_usage: 30, timestamp: new Date(START + seconds * 1000).toISOString(), ...more });
const network = (bytes_recv, bytes_sent) => ({ network_stats: { bytes_recv, bytes_sent } });

test("makes rates of the network's counters, and none of counters that fell", () => {
  const hosts = new Hosts();
  hosts.add(sample(0, network(1000, 500)), START);
  assert.equal(hosts.get("one").rates.received, undefined);
  hosts.add(sample(10, network(6000, 1500)), START);
  assert.deepEqual(hosts.get("one").rates, { received: 500, sent: 100 });
  hosts.add(sample(20, network(10, 10)), START);
  assert.equal(hosts.get("one").rates.received, undefined);
});

test("takes the network's counters from a reply about a sample that an update has told already", () => {
  const hosts = new Hosts();
  for (const [seconds, received] of [[0, 1000], [10, 3000]]) {
    hosts.add(sample(seconds), START);
    hosts.add(sample(seconds, network(received, 0)), START);
  }
  assert.equal(hosts.history("one").length, 2);
  assert.equal(hosts.history("one")[1].received, 200);
  hosts.add(sample(15), START);
  assert.equal(hosts.get("one").rates.received, 200);
});

test("takes each sample once, and none that is older than the newest", () => {
  const hosts = new Hosts();
  for (const seconds of [0, 5, 5, 0]) hosts.add(sample(seconds), START);
  assert.equal(hosts.history("one").length, 2);
});

test("is stale after three of the host's own intervals", () => {
  const hosts = new Hosts();
  for (const seconds of [0, 20, 40]) hosts.add(sample(seconds), START + seconds * 1000);
  assert.equal(hosts.interval("one"), 20_000);
  assert.equal(hosts.isStale("one", START + 99_000), false);
  assert.equal(hosts.isStale("one", START + 101_000), true);
  assert.equal(hosts.isStale("unknown", START), true);
});

test("does not take a pause for its interval", () => {
  const hosts = new Hosts();
  for (const seconds of [0, 300, 305]) hosts.add(sample(seconds), START + seconds * 1000);
  assert.equal(hosts.interval("one"), 5_000);
});

test("fills the hour before its first sample from the server's trend", () => {
  const hosts = new Hosts();
  hosts.add(sample(0), START);
  const resource_usage = { cpu_trend: [1, 2, 3], memory_trend: [4, 5, 6], timestamps: ["23:55", "00:05", "00:10"] };
  hosts.seed({ resource_usage, timestamp: new Date(START + 30_000).toISOString() });
  assert.deepEqual(hosts.history("one").map(({ t, cpu }) => [(t - START) / 60_000, cpu]), [[-15, 1], [-5, 2], [0, 10]]);
});

test("keeps an hour and no more", () => {
  const hosts = new Hosts();
  for (let seconds = 0; seconds <= 7200; seconds += 60) hosts.add(sample(seconds), START);
  assert.equal(hosts.history("one").length, 60);
});

test("reads a trend's labels as times of day in UTC, over midnight, or as ISO times", () => {
  const end = Date.parse("2026-05-01T00:10:30Z");
  assert.deepEqual(trendTimes(["23:50", "00:10"], end), [Date.parse("2026-04-30T23:50:00Z"), Date.parse("2026-05-01T00:10:00Z")]);
  assert.deepEqual(trendTimes(["2026-05-01T00:00:00.000Z"], end), [Date.parse("2026-05-01T00:00:00Z")]);
});
