/** The state of the connection, always in sight; told to screen readers when it changes, not every second. */

import { h, setText } from "../dom.js";
import { State } from "../connection.js";
import { ago, exactTime } from "../format.js";

const LABELS = { [State.CONNECTING]: "Connecting …", [State.LIVE]: "Live", [State.LATE]: "Not answering …" };

/** What is to be said about a connection: {kind, label, advice}. Pure. */
export function describe(state, { now, subscribed }) {
  if (state.name === State.WAITING) {
    const seconds = Math.max(0, Math.ceil((state.retryAt - now) / 1000));
    return { kind: "down", label: `Reconnecting in ${seconds} s`, advice: state.reason };
  }
  if (state.name === State.LIVE && !subscribed) {
    return { kind: "late", label: "Waiting for updates", advice: "The server cannot deliver updates just now." };
  }
  const kind = { [State.CONNECTING]: "connecting", [State.LIVE]: "live", [State.LATE]: "late" }[state.name];
  return { kind, label: LABELS[state.name], advice: state.name === State.LATE ? "The server has not answered the last heartbeat." : "" };
}

/** A pill with the state; there may be several, in the header and in a dialog. */
export class ConnectionPill {
  element = h("div", { class: "pill" });
  #label = h("span", { class: "pill-label" });

  constructor() {
    this.element.append(h("span", { class: "pill-dot", "aria-hidden": "true" }), this.#label);
  }

  show({ kind, label, advice }, latency) {
    this.element.dataset.kind = kind;
    setText(this.#label, label);
    this.element.title = advice || (kind === "live" && Number.isFinite(latency) ? `The server answers in ${Math.round(latency)} ms.` : "");
  }
}

export class ConnectionView {
  #pills = new Set();
  #banner;
  #bannerText = h("span");
  #spoken = "";
  #wasLive = false;
  #connection;
  #announcer;
  latency = NaN;
  /** Of the server that this page was loaded from; another one later means that the page is out of date. */
  #firstVersion = "";

  constructor({ place, banner, connection, announcer }) {
    this.#connection = connection;
    this.#announcer = announcer;
    this.#banner = banner;
    place.append(this.pill().element);
    const again = h("button", { class: "button small", type: "button", onclick: () => connection.connect() }, "Reconnect now");
    banner.append(this.#bannerText, again);
  }

  /** One more pill that is kept up to date. */
  pill() {
    const pill = new ConnectionPill();
    this.#pills.add(pill);
    return pill;
  }

  show({ now, subscribed, unread = 0 }) {
    const { state, heardAt } = this.#connection;
    const said = describe(state, { now, subscribed });
    for (const pill of this.#pills) pill.show(said, this.latency);
    const live = said.kind === "live";
    document.body.dataset.connection = said.kind;
    document.title = `${live ? "" : "⚠ "}${unread ? `(${unread}) ` : ""}OpenCode Agents`;
    this.#banner.hidden = live || (said.kind === "connecting" && !heardAt && !state.attempt);
    if (!this.#banner.hidden) setText(this.#bannerText, sentence(said, heardAt, now));
    this.#speak(said);
  }

  /** Offers to load the page again when another version of the server answers. */
  established(version) {
    this.#firstVersion ||= version;
    return version !== this.#firstVersion;
  }

  #speak({ kind }) {
    if (kind === this.#spoken) return;
    this.#spoken = kind;
    if (kind === "live" && this.#wasLive) this.#announcer.say("The connection is live again.");
    if (kind === "down" && this.#wasLive) this.#announcer.alarm("The connection to the server is lost. Reconnecting.");
    this.#wasLive ||= kind === "live";
  }
}

function sentence({ label, advice }, heardAt, now) {
  const known = heardAt ? `What you see is from ${exactTime(heardAt)} (${ago(now - heardAt)}).` : "Nothing has been received yet.";
  return [advice, `${label}.`, known].filter(Boolean).join(" ");
}
