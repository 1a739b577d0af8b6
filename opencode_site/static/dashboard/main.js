/** Puts the page together: messages into the store, the store into the views, keys and presses into actions. */

import { Actions } from "./actions.js";
import { Announcer } from "./announcer.js";
import { Connection, State } from "./connection.js";
import { setAttribute } from "./dom.js";
import { firstLine, plain } from "./format.js";
import { icon } from "./icons.js";
import { refreshMoments } from "./moments.js";
import { Group } from "./protocol.js";
import { select, taskInAddress } from "./selection.js";
import { listenForKeys } from "./shortcuts.js";
import { Store } from "./store.js";
import { Sync } from "./sync.js";
import { chosenTheme, nextTheme, onThemeChange } from "./theme.js";
import { Toasts } from "./toasts.js";
import { ConnectionView } from "./views/connection-view.js";
import { showHelp } from "./views/dialogs.js";
import { Machine } from "./views/machine.js";
import { NewTaskDialog } from "./views/new-task-dialog.js";
import { Overview } from "./views/overview.js";
import { Processes } from "./views/processes.js";
import { TaskDialog } from "./views/task-dialog.js";
import { TaskList } from "./views/task-list.js";

const DRAW_AT_MOST_EVERY = 150;
const TICK = 500;
const AGE_EVERY = 3_000;
const OLDER_PAGE = 100;
const OUTCOMES = { failed: "has failed", completed: "is completed", cancelled: "is cancelled", running: "has started" };

const place = (id) => document.getElementById(id);
const filter = { group: "", priority: "", search: "" };
const store = new Store();
const dirty = new Set();
const older = { failed: 0, finished: 0 };
let drawTimer = 0;
let agedAt = 0;
let opened = null;
let form = null;

const announcer = new Announcer({ polite: place("announcer"), urgent: place("alarm") });
const toasts = new Toasts(place("toasts"));
const connection = new Connection({
  url: `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`,
  on: { state: stateChanged, live, message: received, pong, woke: () => sync.resync() },
});
const sync = new Sync({ connection, store, changed });
const connectionView = new ConnectionView({ place: place("connection"), banner: place("banner"), connection, announcer });
const act = new Actions({ connection, toasts, sync, open: openTask, startLike: newTask });
const overview = new Overview(place("overview"), { onFilter: setFilter, onClear: clearFilters });
const taskList = new TaskList(place("tasks"), { act, readOlder, redraw: () => changed(new Set(["tasks"])) });
const machine = new Machine(place("machine"));
machine.redraw = () => changed(new Set(["hosts"]));
const processes = new Processes(place("machine"), { onEnd: act.end });

// --- From the server ---------------------------------------------------------------------------------------

function stateChanged(state) {
  if (state.name === State.WAITING) {
    opened?.log.disconnected();
    signInAgain();
  }
  changed(new Set(["connection"]));
}

/** A browser does not tell why a WebSocket was refused; the page itself says when its login has ended. */
async function signInAgain() {
  try {
    const { status } = await fetch(location.pathname, { method: "HEAD", cache: "no-store" });
    if (status === 401) location.assign(`/login/?next=${encodeURIComponent(location.pathname)}`);
  } catch {
    // There is no connection at all; the next attempt asks again.
  }
}

async function live(established) {
  if (connectionView.established(established.server_version)) {
    toasts.offer("Another version of the server is running now.", "Load the page again", () => location.reload());
  }
  await sync.live(established);
  opened?.reconnected();
}

function received(message) {
  const slices = store.receive(message, Date.now());
  if (message.type === "log_entry") opened?.log.receive(message.log);
  if (message.type === "agent_update" && !message.agent?.task_id) sync.strangerSeen(message.agent);
  if (message.type === "task_status_update" && slices.size) sync.taskChanged(message.task_id);
  changed(slices);
}

function pong(message, sentAt, receivedAt) {
  store.noteClock(message, sentAt, receivedAt);
  connectionView.latency = receivedAt - sentAt;
}

async function readOlder(group) {
  const statuses = group === Group.FAILED ? ["failed"] : ["completed", "cancelled"];
  try {
    const pages = await Promise.all(statuses.map((status) =>
      connection.request({ type: "list_tasks", filter: { status }, limit: OLDER_PAGE, offset: older[group] })));
    older[group] += OLDER_PAGE;
    for (const page of pages) changed(store.receive(page, Date.now()));
    return pages.some((page) => page.tasks.length === OLDER_PAGE);
  } catch (error) {
    toasts.failed(error.message);
    return true;
  }
}

// --- Onto the page -----------------------------------------------------------------------------------------

function changed(slices) {
  for (const slice of slices) dirty.add(slice);
  if (dirty.size) drawTimer ||= setTimeout(draw, DRAW_AT_MOST_EVERY);
}

function draw() {
  drawTimer = 0;
  const now = Date.now();
  const serverNow = store.serverNow(now);
  const context = { now, serverNow, hosts: store.hosts, unavailable: store.unavailable, known: store.loaded };
  announceChanges();
  if (has("tasks", "said", "agents", "filter")) drawTasks(now, serverNow);
  if (has("hosts", "performance")) machine.show({ ...context, performance: store.performance });
  if (has("processes", "agents")) {
    processes.show({ ...context, processes: store.processes, processesAt: store.processesAt, agents: store.agents });
  }
  if (has("tasks")) opened?.show();
  dirty.clear();
  drawConnection(now);
}

const has = (...slices) => slices.some((slice) => dirty.has(slice));

function drawTasks(now, serverNow) {
  const { shown, totals } = select(store.tasks.values(), filter);
  const byTask = new Map([...store.agents.values()].filter((agent) => agent.task_id).map((agent) => [agent.task_id, agent]));
  const stale = ({ host, measuredAt }) => store.hosts.isOld(measuredAt, host, now);
  const contextOf = ({ id }) => ({ now, serverNow, said: store.said.get(id), agent: byTask.get(id), stale });
  const slots = store.workers.reduce((sum, worker) => sum + (worker.slots ?? 0), 0);
  const known = store.loaded;
  overview.show({ totals, filter, slots, known, truncated: store.truncated });
  taskList.show({ shown, totals, filter, known, contextOf, mayHaveOlder: totals[Group.FINISHED] >= 90 });
}

function drawConnection(now) {
  connectionView.show({ now, subscribed: sync.subscribed });
}

function announceChanges() {
  for (const { id, to } of store.takeChanges()) {
    if (!OUTCOMES[to]) continue;
    const task = store.tasks.get(id);
    announcer.say(`${firstLine(task?.description ?? "", 60) || plain(id)} ${OUTCOMES[to]}.`);
  }
}

function tick() {
  connection.tick();
  sync.tick();
  const now = Date.now();
  drawConnection(now);
  if (document.hidden) return;
  refreshMoments(store.serverNow(now));
  machine.age({ hosts: store.hosts, now });
  if (now - agedAt < AGE_EVERY) return;
  agedAt = now;
  // What a task uses and how long its agent has been silent grow old while no message comes.
  changed(new Set(["agents"]));
}

// --- From the user -----------------------------------------------------------------------------------------

function setFilter(change) {
  Object.assign(filter, change);
  changed(new Set(["filter"]));
}

function clearFilters() {
  place("search").value = "";
  setFilter({ group: "", priority: "", search: "" });
}

function openTask(id) {
  if (opened?.id === id) return;
  opened?.close();
  const pill = connectionView.pill();
  opened = new TaskDialog({ id, connection, store, act, toasts, pill, onClose: () => closed(id) });
  history.replaceState(null, "", `#task=${encodeURIComponent(id)}`);
  drawConnection(Date.now());
}

function closed(id) {
  if (opened?.id !== id) return;
  opened = null;
  history.replaceState(null, "", location.pathname);
}

function newTask(like) {
  if (form) return;
  form = new NewTaskDialog({ connection, store, like, onClose: () => (form = null),
    onStarted: (task) => toasts.done(`${task.id} is queued.`) });
}

function showTheme() {
  const theme = chosenTheme();
  const button = place("theme");
  button.replaceChildren(icon({ system: "system", light: "sun", dark: "moon" }[theme]));
  setAttribute(button, "aria-label", `Theme: ${theme}. Change it`);
  setAttribute(button, "title", `Theme: ${theme}`);
}

function openFromAddress() {
  const id = taskInAddress(location.hash);
  if (id) openTask(id);
}

const focused = () => store.tasks.get(taskList.focusedId);
const only = (group) => () => setFilter({ group: filter.group === group ? "" : group });

place("help").append(icon("keyboard"));
place("admin").append(icon("settings"));
place("new-task").prepend(icon("plus"));
place("help").addEventListener("click", showHelp);
place("new-task").addEventListener("click", () => newTask());
place("theme").addEventListener("click", nextTheme);
place("search").addEventListener("input", ({ target }) => setFilter({ search: target.value }));
place("search").addEventListener("keydown", (event) => {
  if (event.key === "Escape") clearFilters();
});
onThemeChange(showTheme);
showTheme();
listenForKeys({
  actions: {
    n: () => newTask(), "/": () => place("search").focus(), "?": showHelp, t: nextTheme, 0: clearFilters, Escape: clearFilters,
    j: () => taskList.move(1), k: () => taskList.move(-1), c: () => act.cancel(focused()), r: () => act.retry(focused()),
    1: only(Group.RUNNING), 2: only(Group.QUEUED), 3: only(Group.FAILED), 4: only(Group.FINISHED),
  },
  inDialog: { t: nextTheme, f: () => opened?.log.follow(), "/": () => opened?.log.search() },
});
addEventListener("online", () => connection.probe());
addEventListener("hashchange", openFromAddress);
addEventListener("pageshow", ({ persisted }) => persisted && connection.connect());
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) connection.probe();
});
setInterval(tick, TICK);
connection.connect();
changed(new Set(["tasks", "hosts", "processes", "connection"]));
openFromAddress();
