// The trail of a call: every attempt, rejection, wait and fallback, with its time.

import { element } from "./elements.js";
import { duration } from "./format.js";

const GATES = { circuit_breaker: "circuit breaker", rate_limit: "rate limit" };

/** What happened at a step: a kind, which selects the mark, and a text. */
function describe(step) {
  switch (step.verdict) {
    case "succeeded":
      return { kind: "good", text: "answered" };
    case "failed":
      return { kind: "bad", text: `failed with ${step.code}` };
    case "sent_again":
      return { kind: "note", text: `not processed, sent again: ${step.reason}` };
    case "rejected":
      return { kind: "bad", text: `rejected by the ${GATES[step.gate] ?? step.gate}, ${step.code}` };
    case "waiting":
      return { kind: "note", text: `waits ${duration(step.wait_ms)} for the next attempt` };
    case "fell_back":
      return { kind: "turn", text: `falls back to ${step.to}${because(step)}` };
    case "chosen":
      return { kind: "note", text: `chosen from the group ${step.group}` };
    case "hedged":
      return { kind: "turn", text: `late after ${duration(step.wait_ms)}, also sent to ${step.to || "the same target"}` };
    case "cancelled":
      return { kind: "note", text: "cancelled before its result" };
    case "skipped":
      return { kind: "note", text: `skips ${step.skipped}, which ${step.missing}` };
    case "continued":
      return { kind: "turn", text: `continued by ${step.by}${because(step)}` };
    default:
      return { kind: "note", text: step.verdict };
  }
}

const because = ({ because: code }) => (code === null ? "" : `, because of ${code}`);

/** The list of the steps of `call`, as `/calls/ID` has it. */
export function trailList(call) {
  const started = Date.parse(call.started);
  const since = (at) => `+${duration(Math.max(Date.parse(at) - started, 0))}`;
  const line = (kind, time, target, text) =>
    element(
      "li",
      { "data-kind": kind },
      element("span", { class: "glyph", "aria-hidden": "true" }),
      element("span", { class: "at" }, time),
      element("span", { class: "name" }, target ?? ""),
      element("span", { class: "text" }, text),
    );
  const steps = call.trail.steps.map((step) => {
    const { kind, text } = describe(step);
    return line(kind, since(step.at), step.target, text);
  });
  const end =
    call.end === null
      ? []
      : [line(call.end === "finished" ? "end" : "bad", `+${duration(call.total_ms)}`, null, endText(call))];
  const list = element(
    "ol",
    { class: "trail", "aria-label": "Trail" },
    line("start", "0 ms", null, startText(call)),
    ...steps,
    ...end,
  );
  return element("div", {}, list, facts(call));
}

function startText({ path, caller }) {
  return caller === null ? `request for ${path}` : `request for ${path}, of ${caller}`;
}

function endText({ end, bytes, status }) {
  const size = `${bytes.toLocaleString("en")} bytes`;
  return end === "finished" ? `response complete, ${status}, ${size}` : `response ${end}, after ${size}`;
}

function facts(call) {
  const { tokens } = call;
  const used = tokens === null ? [] : [`tokens: ${tokens.input} in, ${tokens.output} out`];
  return element("p", { class: "facts" }, [`call ${call.id}`, ...used].join(" · "));
}
