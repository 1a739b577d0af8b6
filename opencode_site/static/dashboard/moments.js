/** Times that go on by themselves: "3 min ago", "12 s" and the exact time on hover. */

import { ago, duration, exactTime } from "./format.js";
import { h, setAttribute, setText } from "./dom.js";

const REFRESHED = "time[data-at]";

/** An element for a moment, written as how long ago it was; `style` "for" writes how long it has lasted. */
export function moment(style = "ago") {
  return h("time", { data: { style } });
}

/** Sets the moment (epoch milliseconds of the server) that an element tells. */
export function setMoment(element, at, serverNow) {
  if (!Number.isFinite(at)) {
    delete element.dataset.at;
    setText(element, "");
    element.removeAttribute("title");
    return;
  }
  if (element.dataset.at !== String(at)) {
    element.dataset.at = String(at);
    setAttribute(element, "datetime", new Date(at).toISOString());
    setAttribute(element, "title", element.dataset.style === "for" ? `since ${exactTime(at)}` : exactTime(at));
  }
  write(element, serverNow);
}

/** Lets every moment on the page go on. */
export function refreshMoments(serverNow) {
  for (const element of document.querySelectorAll(REFRESHED)) write(element, serverNow);
}

function write(element, serverNow) {
  const passed = serverNow - Number(element.dataset.at);
  setText(element, element.dataset.style === "for" ? duration(passed) : ago(passed));
}
