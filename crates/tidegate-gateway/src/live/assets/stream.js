// The events of the gateway, over one response that does not end. Read with fetch and not with EventSource,
// so that the message of an error is known, and a silent connection is noticed.

const SILENCE = 15_000;
const FIRST_WAIT = 500;
const LONGEST_WAIT = 5_000;

/** Calls `on.event(name, data)` for each event, `on.state(state, message)` for a change of the connection. */
export async function follow(url, on) {
  let wait = FIRST_WAIT;
  for (;;) {
    const problem = await read(url, on, () => (wait = FIRST_WAIT));
    on.state("lost", problem);
    await new Promise((resolve) => setTimeout(resolve, wait));
    wait = Math.min(2 * wait, LONGEST_WAIT);
  }
}

/** Reads one response to its end. Returns why it ended. */
async function read(url, on, connected) {
  const abort = new AbortController();
  let timer = setTimeout(() => abort.abort(), SILENCE);
  try {
    const response = await fetch(url, { signal: abort.signal, headers: { accept: "text/event-stream" } });
    if (!response.ok) return await messageOf(response);
    const decoder = new TextDecoder();
    const reader = response.body.getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return "";
      clearTimeout(timer);
      timer = setTimeout(() => abort.abort(), SILENCE);
      text += decoder.decode(value, { stream: true });
      const events = text.split("\n\n");
      text = events.pop();
      for (const event of events) {
        const { name, data } = parse(event);
        if (data === null) continue;
        if (name === "snapshot") {
          connected();
          on.state("live", "");
        }
        on.event(name, JSON.parse(data));
      }
    }
  } catch {
    return "";
  } finally {
    clearTimeout(timer);
    abort.abort();
  }
}

function parse(event) {
  let name = "message";
  let data = null;
  for (const line of event.split("\n")) {
    if (line.startsWith("event: ")) name = line.slice(7);
    else if (line.startsWith("data: ")) data = line.slice(6);
  }
  return { name, data };
}

/** The message of an error response of the gateway. */
export async function messageOf(response) {
  try {
    const body = await response.json();
    return body.error.message;
  } catch {
    return `the gateway responded ${response.status}`;
  }
}
