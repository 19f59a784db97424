// The table of targets. Rows are kept and changed in place, so that the focus stays where it is.

import { actionButtons } from "./actions.js";
import { byId, cell, element, row, rowHeader, setAttribute, setText, stateBadge } from "./elements.js";
import { count, countdown, DASH, duration, median, percent } from "./format.js";

const RECENT_TOKENS = 60_000;

export class Targets {
  constructor() {
    this.body = byId("target-rows");
    this.rows = new Map();
  }

  /** Shows `targets`, in their order. */
  update(targets) {
    const now = performance.now();
    const known = new Set();
    targets.forEach((target, index) => {
      const key = `${target.target}\n${target.policy}`;
      known.add(key);
      if (!this.rows.has(key)) this.rows.set(key, new TargetRow(target));
      const shown = this.rows.get(key);
      shown.update(target, now);
      if (this.body.children[index] !== shown.element)
        this.body.insertBefore(shown.element, this.body.children[index] ?? null);
    });
    for (const [key, shown] of this.rows) {
      if (known.has(key)) continue;
      shown.element.remove();
      this.rows.delete(key);
    }
  }

  /** Moves the countdowns on. */
  tick() {
    const now = performance.now();
    for (const shown of this.rows.values()) shown.tick(now);
  }

  /** The times to the first token of the last minute, of all targets. */
  recentTokens() {
    return [...this.rows.values()].flatMap((shown) => shown.tokens.map(({ ms }) => ms));
  }
}

class TargetRow {
  constructor({ target, policy, has_circuit }) {
    this.state = stateBadge();
    this.wait = element("span", { class: "detail wait" });
    this.bar = element("progress", {
      class: "cooldown",
      max: "1",
      value: "0",
      "aria-label": "Rest of the cooldown",
    });
    this.flight = new Meter("Calls in flight");
    this.requests = new Meter("Requests left");
    this.tokensLeft = new Meter("Tokens left");
    this.closed = element("span", { class: "detail warn" });
    this.token = element("span", { class: "value" });
    this.tokenNote = element("span", { class: "detail" });
    this.failures = element("span", { class: "value" });
    this.lastFailure = element("span", { class: "detail" });
    this.fallbacks = element("span", { class: "list" });
    this.tokens = [];
    this.groups = element("span", { class: "detail" });
    const name = rowHeader(
      element("span", { class: "name" }, target),
      element("span", { class: "detail" }, `policy ${policy}`),
      this.groups,
    );
    this.element = row(
      { "data-target": target, "data-policy": policy },
      name,
      labelled("Circuit", this.state.badge, this.wait, this.bar),
      labelled("In flight", this.flight.element),
      labelled("Quota left", this.requests.element, this.tokensLeft.element, this.closed),
      labelled("First token", this.token, this.tokenNote),
      labelled("Failures", this.failures, this.lastFailure),
      labelled("Fallbacks used", this.fallbacks),
      cell({ class: "actions" }, ...actionButtons(target, policy, has_circuit)),
    );
  }

  update(target, now) {
    this.target = target;
    this.until = target.cooldown_remaining_ms === null ? null : now + target.cooldown_remaining_ms;
    this.state.set(target.circuit_state);
    setAttribute(this.element, "data-status", target.status);
    const waiting = target.queued + target.rate_waiting;
    this.flight.set(
      target.current_inflight,
      target.max_inflight,
      waiting > 0 ? `${count(waiting)} queued` : "",
    );
    this.requests.set(target.rate_remaining, target.rate_capacity, "requests");
    this.tokensLeft.set(target.tokens_remaining, target.tokens_capacity, "tokens");
    this.requests.element.hidden = target.rate_remaining === null;
    this.tokensLeft.element.hidden = target.tokens_remaining === null;
    const isClosed = target.rate_closed_ms !== null;
    setText(
      this.closed,
      isClosed ? `closed by the provider for ${countdown(target.rate_closed_ms)}` : quotaNote(target),
    );
    setAttribute(this.closed, "class", isClosed ? "detail warn" : "detail");
    this.updateTokens(target, now);
    this.updateFailures(target);
    this.updateFallbacks(target.fallback);
    setText(this.groups, (target.groups ?? []).map(membership).join("; "));
    this.tick(now);
  }

  updateTokens(target, now) {
    for (const ms of target.first_token_ms) this.tokens.push({ at: now, ms });
    this.tokens = this.tokens.filter(({ at }) => now - at < RECENT_TOKENS).slice(-500);
    const recent = median(this.tokens.map(({ ms }) => ms));
    // The mean counts failures as well.
    const { avg_response_time: meanOfAll, total_failures: failures } = target.circuit_metrics;
    const mean = failures === 0 ? meanOfAll : null;
    setText(this.token, duration(recent ?? (mean === null ? null : 1_000 * mean)));
    setText(this.tokenNote, recent !== null ? "last minute" : mean === null ? "" : "mean of the last 50");
  }

  updateFailures({ circuit_metrics: metrics, circuit_window_shared: shared, last_failure }) {
    const attempts = metrics.total_successes + metrics.total_failures;
    setText(this.failures, attempts === 0 ? DASH : `${count(metrics.total_failures)} of ${count(attempts)}`);
    const share =
      metrics.failure_rate === null || metrics.total_failures === 0
        ? ""
        : `${percent(metrics.failure_rate)} lately${shared === null ? "" : shared ? ", in all gateways" : ", here alone"}`;
    const code = last_failure === null ? "" : `last ${last_failure.code}`;
    setText(this.lastFailure, [share, code].filter(Boolean).join(", "));
  }

  updateFallbacks(fallbacks) {
    const lines = fallbacks.map(({ target, calls, successes }) => ({
      target,
      text: calls === 0 ? "unused" : `${count(successes)} of ${count(calls)}`,
    }));
    if (lines.length === 0) return setText(this.fallbacks, DASH);
    if (this.fallbacks.children.length !== lines.length) {
      this.fallbacks.replaceChildren(
        ...lines.map(() =>
          element("span", {}, element("span", { class: "name" }), " ", element("span", { class: "value" })),
        ),
      );
    }
    lines.forEach(({ target, text }, index) => {
      const [name, value] = this.fallbacks.children[index].children;
      setText(name, target);
      setText(value, text);
    });
  }

  tick(now) {
    const { circuit_state: state, cooldown_remaining_ms: reported, circuit_metrics: metrics } = this.target;
    const left = this.until === null ? null : Math.max(this.until - now, 0);
    this.longest = left === null ? 0 : Math.max(this.longest ?? 0, left, 1);
    this.bar.hidden = left === null;
    if (left !== null) this.bar.value = left / this.longest;
    setText(
      this.wait,
      this.target.has_circuit ? waitText(state, reported, left, metrics) : "rejects no calls",
    );
  }
}

/** A target as a member of a group. */
function membership({ group, choices, cooldown_remaining_ms: leftOut }) {
  const calls = Object.values(choices).reduce((sum, number) => sum + number, 0);
  const state = leftOut === null ? "" : `, left out for ${countdown(leftOut)}`;
  return `group ${group}, ${count(calls)} ${calls === 1 ? "call" : "calls"}${state}`;
}

/** How a circuit goes on from its state. */
function waitText(state, reported, left, metrics) {
  if (state === "half_open") return "next calls are probes";
  if (state === "open" && reported === null) return "held until a reset";
  if (state === "open") return left > 0 ? `probes in ${countdown(left)}` : "next call is a probe";
  const { consecutive_failures: failures, config } = metrics;
  return failures > 0 && config.failure_threshold > 0
    ? `${count(failures)} of ${count(config.failure_threshold)} failures`
    : "";
}

const quotaNote = ({ rate_remaining, tokens_remaining, rate_shared }) => {
  if (rate_shared !== null && !rate_shared.available) return "store unavailable, own share";
  if (rate_shared !== null) return `shared by ${count(rate_shared.processes)}`;
  return rate_remaining === null && tokens_remaining === null ? "no quota" : "";
};

const labelled = (label, ...children) => cell({ "data-label": label }, ...children);

/** A number of a limit, with a bar. */
class Meter {
  constructor(label) {
    this.value = element("span", { class: "value" });
    this.bar = element("progress", { class: "meter", max: "1", value: "0", "aria-label": label });
    this.note = element("span", { class: "detail" });
    this.element = element(
      "span",
      { class: "metered" },
      element("span", { class: "line" }, this.value, " ", this.note),
      this.bar,
    );
  }

  set(value, limit, note) {
    const has = value !== null && value !== undefined;
    const isLimited = has && limit !== null && limit !== undefined;
    setText(this.value, !has ? DASH : isLimited ? `${count(value)} / ${count(limit)}` : count(value));
    setText(this.note, note);
    this.bar.hidden = !isLimited;
    if (isLimited) this.bar.value = limit > 0 ? Math.min(value / limit, 1) : 0;
  }
}
