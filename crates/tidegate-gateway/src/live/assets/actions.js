// The changes of a target by hand, each after a confirmation.

import { announce, byId, element } from "./elements.js";
import { messageOf } from "./stream.js";

const ACTIONS = [
  {
    name: "reset",
    label: "Reset",
    title: (target) => `Reset ${target}?`,
    text: "Closes the circuit, refills quotas that are not shared, discards reported limits, brings it back to its groups and ends a forced state.",
    done: (target) => `${target} is reset.`,
  },
  {
    name: "force-open",
    label: "Force open",
    title: (target) => `Force ${target} open?`,
    text: "Rejects every call to this target until a reset. Chains go on to their next target.",
    done: (target) => `${target} is forced open.`,
  },
  {
    name: "force-closed",
    label: "Force closed",
    title: (target) => `Force ${target} closed?`,
    text: "Admits every call to this target until a reset, however many of them fail.",
    done: (target) => `${target} is forced closed.`,
  },
];

/** The buttons of a target. Without a circuit only a reset is possible. */
export function actionButtons(target, policy, hasCircuit) {
  const possible = ACTIONS.filter(({ name }) => hasCircuit || name === "reset");
  return possible.map((action) => {
    const button = element(
      "button",
      {
        type: "button",
        class: "quiet",
        "data-action": action.name,
        "aria-label": `${action.label}: ${target}`,
      },
      action.label,
    );
    button.addEventListener("click", () => change(action, target, policy));
    return button;
  });
}

async function change(action, target, policy) {
  if (!(await confirmed(action, target, policy))) return;
  const problem = await send(action, target, policy);
  notice(problem === null ? "" : `${action.label} of ${target}: ${problem}`);
  announce(problem === null ? action.done(target) : problem);
}

/** Sends the change. Returns the problem, if there is one. */
async function send(action, target, policy) {
  const path = `signals/${encodeURIComponent(target)}/${action.name}?policy=${encodeURIComponent(policy)}`;
  try {
    const response = await fetch(path, { method: "POST" });
    return response.ok ? null : await messageOf(response);
  } catch {
    return "the gateway cannot be reached";
  }
}

/** Whether the change is confirmed in a dialog, which the browser closes on Escape. */
function confirmed(action, target, policy) {
  const dialog = byId("confirm");
  byId("confirm-title").textContent = action.title(target);
  byId("confirm-text").textContent = `${action.text} This is the target under the policy ${policy}.`;
  byId("confirm-yes").textContent = action.label;
  dialog.returnValue = "cancel";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

/** Shows a problem above the page, or nothing. */
export function notice(text) {
  const place = byId("notice");
  place.textContent = text;
  place.hidden = text === "";
}
