// The changes of circuits: a lane of states for each target, and a list.

import { announce, byId, element, setAttribute, setText, stateBadge, stateName } from "./elements.js";
import { clock, duration, setTime } from "./format.js";

const SPAN = 600_000;
const KEPT = 256;
const FIRST_SHOWN = 6;
const HEIGHTS = { open: 10, half_open: 6, closed: 2 };
const SVG = "http://www.w3.org/2000/svg";

export class Transitions {
  constructor() {
    this.entries = [];
    this.lanes = new Map();
    this.showsAll = false;
    this.more = byId("transitions-more");
    this.more.addEventListener("click", () => {
      this.showsAll = !this.showsAll;
      this.renderList();
    });
  }

  /** Replaces all entries. */
  replace(entries) {
    this.entries = [];
    byId("transition-list").replaceChildren();
    this.add(entries);
  }

  /** Adds entries, oldest first. */
  add(entries) {
    if (entries.length === 0) return this.renderList();
    const list = byId("transition-list");
    for (const entry of entries) {
      this.entries.push(entry);
      list.prepend(item(entry));
    }
    this.entries.splice(0, this.entries.length - KEPT);
    while (list.children.length > KEPT) list.lastElementChild.remove();
    this.renderList();
  }

  /** Announces entries that are new. */
  announce(entries) {
    const latest = entries.at(-1);
    if (latest) announce(`Circuit of ${named(latest)}: ${stateName(latest.to)}, ${latest.reason}`);
  }

  renderList() {
    const items = [...byId("transition-list").children];
    items.forEach((each, index) => (each.hidden = !this.showsAll && index >= FIRST_SHOWN));
    byId("transitions-empty").hidden = items.length > 0;
    this.more.hidden = items.length <= FIRST_SHOWN;
    setText(this.more, this.showsAll ? "Show fewer" : `Show all ${items.length}`);
  }

  /** Draws the lanes of `targets` up to `now`, by the clock of the gateway. */
  draw(targets, now) {
    const known = new Set();
    for (const target of targets.filter(({ has_circuit }) => has_circuit)) {
      const key = `${target.target}\n${target.policy}`;
      known.add(key);
      let lane = this.lanes.get(key);
      if (!lane) {
        lane = new Lane(target);
        this.lanes.set(key, lane);
        byId("lanes").append(lane.element);
      }
      lane.draw(
        this.entries.filter((entry) => entry.target === target.target && entry.policy === target.policy),
        target.circuit_state,
        now,
      );
    }
    for (const [key, lane] of this.lanes) {
      if (known.has(key)) continue;
      lane.element.remove();
      this.lanes.delete(key);
    }
  }
}

/** The target, and the key of its circuit if it has keys. */
const named = ({ target, key }) => (key === null ? target : `${target}, key ${key}`);

function item(entry) {
  const state = stateBadge();
  state.set(entry.to);
  const facts = [entry.reason];
  if (entry.cooldown_ms !== null) facts.push(`for ${setTime(entry.cooldown_ms)}`);
  if (entry.recovery_ms !== null) facts.push(`after ${duration(entry.recovery_ms)}`);
  return element(
    "li",
    { "data-target": entry.target, "data-to": entry.to },
    element("time", { datetime: entry.at }, clock(entry.at)),
    element("span", { class: "name" }, named(entry)),
    element(
      "span",
      { class: "change" },
      element("span", { class: "from" }, `${stateName(entry.from)} →`),
      " ",
      state.badge,
    ),
    element("span", { class: "reason" }, facts.join(", ")),
  );
}

/** The states of one circuit over time, newest at the right. */
class Lane {
  constructor({ target, policy }) {
    this.drawing = document.createElementNS(SVG, "svg");
    for (const [name, value] of [
      ["viewBox", "0 0 1000 10"],
      ["preserveAspectRatio", "none"],
    ])
      this.drawing.setAttribute(name, value);
    this.element = element(
      "div",
      { class: "lane", "data-target": target, "data-policy": policy },
      element("span", { class: "name" }, target),
      this.drawing,
    );
  }

  draw(entries, state, now) {
    // The keys of a target share its lane: one that is not closed covers those that are.
    const keys = entries.length > 0 ? [...new Set(entries.map(({ key }) => key))] : [null];
    const parts = keys
      .flatMap((key) => spans(entries.filter((entry) => entry.key === key), state, now))
      .sort((one, other) => HEIGHTS[one.state] - HEIGHTS[other.state]);
    while (this.drawing.children.length > parts.length) this.drawing.lastElementChild.remove();
    while (this.drawing.children.length < parts.length)
      this.drawing.append(document.createElementNS(SVG, "rect"));
    parts.forEach(({ state, from, to }, index) => {
      const rect = this.drawing.children[index];
      const height = HEIGHTS[state];
      setAttribute(rect, "data-state", state);
      setAttribute(rect, "x", x(from, now).toFixed(1));
      setAttribute(rect, "width", Math.max(x(to, now) - x(from, now), 2).toFixed(1));
      setAttribute(rect, "y", (10 - height) / 2);
      setAttribute(rect, "height", height);
    });
  }
}

const x = (at, now) => Math.max(1_000 * (1 - (now - at) / SPAN), 0);

/** The states and their times within the span. An open circuit is half-open once its cooldown has passed. */
function spans(entries, state, now) {
  const changes = entries.flatMap(({ at, to, cooldown_ms: cooldown }, index) => {
    const begin = Date.parse(at);
    const next = index + 1 < entries.length ? Date.parse(entries[index + 1].at) : now;
    const cooled =
      cooldown !== null && begin + cooldown < next ? [{ at: begin + cooldown, state: "half_open" }] : [];
    return [{ at: begin, state: to }, ...cooled];
  });
  const first = { at: now - SPAN, state: entries.length > 0 ? entries[0].from : state };
  const ends = [...changes.map(({ at }) => at), now];
  return [first, ...changes]
    .map((change, index) => ({ state: change.state, from: change.at, to: ends[index] }))
    .filter(({ to }) => to > now - SPAN);
}
