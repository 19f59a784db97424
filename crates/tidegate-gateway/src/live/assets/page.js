// The page: follows the events of the gateway, and passes them to its parts.

import { notice } from "./actions.js";
import { Calls } from "./calls.js";
import { Charts } from "./charts.js";
import { byId, setAttribute, setText } from "./elements.js";
import { count, duration, median, percent, rate } from "./format.js";
import { follow } from "./stream.js";
import { Targets } from "./targets.js";
import { Transitions } from "./transitions.js";

const parts = {
  targets: new Targets(),
  transitions: new Transitions(),
  calls: new Calls(),
  charts: new Charts(),
};

/** What the gateway reported last. */
const latest = { targets: [], totals: null, clockOffset: 0 };

const CONNECTION = { live: "live", lost: "reconnecting" };

follow("live", {
  event(name, data) {
    if (name === "snapshot") begin(data);
    else if (name === "update" && latest.totals !== null) proceed(data);
  },
  state(state, message) {
    setAttribute(byId("connection"), "data-state", state);
    setText(byId("connection-text"), CONNECTION[state]);
    document.body.classList.toggle("stale", state !== "live");
    notice(message === "" ? "" : `No events: ${message}`);
  },
});

setInterval(() => parts.targets.tick(), 100);
setInterval(tick, 500);
setInterval(() => parts.charts.step(), 2_000);

function begin(data) {
  latest.clockOffset = Date.parse(data.at) - Date.now();
  parts.transitions.replace(data.transitions);
  parts.calls.replace(data.calls, data.keeps_calls);
  parts.charts.restart(data.totals);
  show(data);
  parts.charts.draw();
}

function proceed(data) {
  parts.transitions.add(data.transitions);
  parts.transitions.announce(data.transitions);
  parts.calls.update(data.calls);
  parts.charts.update(data.targets, data.totals);
  show(data);
}

function show({ targets, totals }) {
  latest.targets = targets;
  latest.totals = totals;
  parts.targets.update(targets);
  setText(byId("summary"), summaryOf(targets));
}

function tick() {
  if (latest.totals === null) return;
  parts.transitions.draw(latest.targets, Date.now() + latest.clockOffset);
  const { begun, succeeded, failed, left } = latest.totals;
  const queued = latest.targets.reduce((sum, target) => sum + target.queued + target.rate_waiting, 0);
  const now = parts.charts.recent(10);
  const minute = parts.charts.recent(60);
  const ended = minute.succeeded + minute.failed;
  setText(byId("figure-rate"), rate((now.succeeded + now.failed) / now.seconds));
  setText(byId("figure-inflight"), count(begun - succeeded - failed - left));
  setText(byId("figure-queued"), count(queued));
  setText(
    byId("figure-failed"),
    ended === 0 ? "–" : `${count(minute.failed)} (${percent(minute.failed / ended)})`,
  );
  setText(byId("figure-token"), duration(median(parts.targets.recentTokens())));
}

function summaryOf(targets) {
  const total = `${count(targets.length)} ${targets.length === 1 ? "target" : "targets"}`;
  const bad = targets.filter(({ status }) => status !== "healthy").length;
  return bad === 0 ? `${total}, all healthy` : `${total}, ${count(bad)} not healthy`;
}
