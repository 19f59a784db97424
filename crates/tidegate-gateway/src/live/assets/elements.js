// Elements of the page. Texts are set as text, so a name is never markup.

export const byId = (id) => document.getElementById(id);

/** An element with attributes and children. A child that is no element becomes text. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) made.setAttribute(attribute, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** A row of a table, and its cells. The roles are explicit: the layout for phones removes implied ones. */
export const row = (attributes, ...cells) => element("tr", { role: "row", ...attributes }, ...cells);
export const rowHeader = (...children) => element("th", { scope: "row", role: "rowheader" }, ...children);
export const cell = (attributes, ...children) => element("td", { role: "cell", ...attributes }, ...children);

/** Sets a text, if it is another. */
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/** Sets an attribute, or removes it for `null`. */
export function setAttribute(target, name, value) {
  if (value === null) target.removeAttribute(name);
  else if (target.getAttribute(name) !== String(value)) target.setAttribute(name, value);
}

/** The state of a circuit: a mark with a shape of its own, and the word. */
export function stateBadge() {
  const badge = element("span", { class: "state" });
  const word = element("span");
  badge.append(element("span", { class: "glyph", "aria-hidden": "true" }), word);
  return {
    badge,
    set(state) {
      setAttribute(badge, "data-state", state);
      setText(word, stateName(state));
    },
  };
}

export const stateName = (state) => (state === "half_open" ? "half-open" : state);

/** Announces a text to screen readers. */
export function announce(text) {
  byId("announcer").textContent = text;
}
