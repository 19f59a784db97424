// The table of recent calls, with a filter, and the trail of each.

import { byId, cell, element, row, rowHeader, setAttribute, setText } from "./elements.js";
import { clock, count, DASH, duration } from "./format.js";
import { messageOf } from "./stream.js";
import { trailList } from "./trail.js";

const KEPT = 100;
const FIRST_SHOWN = 15;

const ENDS = {
  failed: "stream failed",
  cut: "cut off",
  stalled: "stalled",
  stopped: "gateway stopped",
  unread: "caller did not read",
  dropped: "caller left",
};

export class Calls {
  constructor() {
    this.rows = new Map();
    this.keepsCalls = true;
    this.body = byId("call-rows");
    byId("filter").addEventListener("submit", (event) => event.preventDefault());
    byId("filter").addEventListener("input", () => this.filter());
    this.showsAll = false;
    this.more = byId("calls-more");
    this.more.addEventListener("click", () => {
      this.showsAll = !this.showsAll;
      this.filter();
    });
  }

  /** Replaces all calls. Trails that are open stay open. */
  replace(calls, keepsCalls) {
    this.keepsCalls = keepsCalls;
    const ids = new Set(calls.map(({ id }) => id));
    for (const [id, shown] of this.rows) {
      if (!ids.has(id)) this.remove(id, shown);
    }
    this.update(calls);
  }

  /** Adds or changes calls, oldest first. */
  update(calls) {
    for (const call of calls) {
      const known = this.rows.get(call.id);
      if (known) {
        known.update(call);
      } else {
        const shown = new CallRow(call);
        this.rows.set(call.id, shown);
        this.body.prepend(shown.element);
      }
    }
    const surplus = [...this.rows]
      .sort(([, one], [, other]) => one.call.number - other.call.number)
      .slice(0, -KEPT);
    for (const [id, shown] of surplus) this.remove(id, shown);
    this.filter();
  }

  remove(id, shown) {
    shown.close();
    shown.element.remove();
    this.rows.delete(id);
  }

  filter() {
    const words = byId("filter-text").value.toLowerCase().split(/\s+/).filter(Boolean);
    const kind = byId("filter-kind").value;
    let matching = 0;
    const newestFirst = [...this.rows.values()].sort((one, other) => other.call.number - one.call.number);
    for (const shown of newestFirst) {
      const matches = isOfKind(shown.call, kind) && words.every((word) => shown.text.includes(word));
      if (matches) matching += 1;
      shown.show(matches && (this.showsAll || matching <= FIRST_SHOWN || shown.details !== null));
    }
    this.more.hidden = matching <= FIRST_SHOWN;
    setText(this.more, this.showsAll ? "Show fewer" : `Show all ${matching}`);
    const empty = byId("calls-empty");
    empty.hidden = matching > 0;
    setText(empty, this.emptyText());
    setText(
      byId("calls-count"),
      this.rows.size === 0 ? "" : `${matching} of the latest ${this.rows.size} calls`,
    );
  }

  emptyText() {
    if (!this.keepsCalls) return "Calls are not kept: calls_kept is 0 in the configuration.";
    return this.rows.size === 0
      ? "No calls yet. The first one appears here as it begins."
      : "No call matches the filter.";
  }
}

function isOfKind(call, kind) {
  switch (kind) {
    case "running":
      return call.end === null;
    case "failed":
      return hasFailed(call);
    case "fallback":
      return call.is_fallback;
    case "retried":
      return call.attempts > 1;
    default:
      return true;
  }
}

const hasFailed = ({ code, end }) => code !== null || (end !== null && end !== "finished");

class CallRow {
  constructor(call) {
    this.time = element("button", { type: "button", class: "open", "aria-expanded": "false" });
    this.time.addEventListener("click", () => this.toggle());
    this.model = element("span", { class: "name" });
    this.target = element("span", { class: "name" });
    this.turn = element("span", { class: "tag", hidden: "" }, "fallback");
    this.result = element(
      "span",
      { class: "result" },
      element("span", { class: "glyph", "aria-hidden": "true" }),
      element("span"),
    );
    this.numbers = ["Attempts", "First token", "Total", "Tokens"].map((label) =>
      cell({ class: "number", "data-label": label }),
    );
    this.element = row(
      { "data-call": call.id },
      rowHeader(this.time),
      cell({ "data-label": "Model" }, this.model),
      cell({ "data-label": "Answered by" }, this.target, " ", this.turn),
      cell({ "data-label": "Result" }, this.result),
      ...this.numbers,
    );
    this.details = null;
    this.update(call);
  }

  update(call) {
    this.call = call;
    setText(this.time, clock(call.started));
    setAttribute(this.time, "aria-label", `Trail of the call at ${clock(call.started)}`);
    setText(this.model, call.route ?? DASH);
    setText(this.target, call.target ?? DASH);
    this.turn.hidden = !call.is_fallback;
    const { kind, text } = resultOf(call);
    setAttribute(this.result, "data-kind", kind);
    setText(this.result.lastElementChild, text);
    const { tokens } = call;
    const used = tokens === null ? DASH : count((tokens.input ?? 0) + tokens.output);
    [count(call.attempts), duration(call.head_ms), duration(call.total_ms), used].forEach((text, index) =>
      setText(this.numbers[index], text),
    );
    const cached = tokens?.cache_read ?? 0;
    setAttribute(this.numbers[3], "title", cached > 0 ? `${count(cached)} read from the cache of the provider` : null);
    this.text = [
      call.id,
      call.path,
      call.route,
      call.target,
      call.caller,
      call.code,
      call.status,
      call.end,
      text,
    ]
      .join(" ")
      .toLowerCase();
    if (this.details) this.load();
  }

  show(isShown) {
    this.element.hidden = !isShown;
    if (this.details) this.details.hidden = !isShown;
  }

  toggle() {
    if (this.details) return this.close();
    this.place = cell({ colspan: "8" }, element("p", { class: "facts" }, "loading"));
    this.details = row({ class: "details" }, this.place);
    this.element.after(this.details);
    this.time.setAttribute("aria-expanded", "true");
    this.load();
  }

  close() {
    this.details?.remove();
    this.details = null;
    this.time.setAttribute("aria-expanded", "false");
  }

  async load() {
    const { place } = this;
    place.replaceChildren(await trail(this.call.id));
  }
}

/** The trail of a call, or the reason why there is none. */
async function trail(id) {
  try {
    const response = await fetch(`calls/${encodeURIComponent(id)}`);
    return response.ok
      ? trailList(await response.json())
      : element("p", { class: "facts" }, await messageOf(response));
  } catch {
    return element("p", { class: "facts" }, "the gateway cannot be reached");
  }
}

function resultOf(call) {
  const status = call.status === null ? "" : String(call.status);
  if (call.end === null)
    return { kind: "running", text: status === "" ? "in flight" : `${status}, streaming` };
  if (call.end !== "finished")
    return {
      kind: call.end === "dropped" ? "left" : "bad",
      text: [ENDS[call.end] ?? call.end, call.code].filter(Boolean).join(", "),
    };
  return call.code === null
    ? { kind: "good", text: status }
    : { kind: "bad", text: `${status}, ${call.code}` };
}
