// The live page of the gateway in Chromium: the gateway is the program as built, with its scripted providers.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";

import { chromium } from "playwright-core";

const { GATEWAY, CHROMIUM, SCREENSHOTS } = process.env;

/** No wait takes longer. */
const BOUND = 15_000;

/** The most calls until the circuit has opened and closed. */
const MAX_CALLS = 100;

const MARKUP = "<img/src=x/onerror=document.title=1>";

/** A provider that nobody can reach, with names that are markup. */
const HOSTILE = `
providers.p = { base_url = "http://127.0.0.1:1/v1", dialect = "openai" }
policies.'${MARKUP}'.circuit_breaker = { failure_threshold = 1, cooldown_seconds = 60 }
[[routes]]
path = "/v1/chat/completions"
model = '<script>document.title=2</script>'
chain = ['p/${MARKUP}']
policy = '${MARKUP}'
`;

let gateway;
let browser;
let page;
let faults;

before(async () => {
  gateway = await startGateway([]);
  // Chromium has no sandbox in a container without further rights.
  browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: ["--no-sandbox", "--disable-dev-shm-usage"],
  });
  ({ page, faults } = await openPage(gateway.url));
});
after(async () => {
  await browser?.close();
  await gateway?.stop();
});

async function startGateway(options) {
  const running = spawn(GATEWAY, ["--listen", "127.0.0.1:0", ...options], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  const exited = once(running, "exit");
  const lines = createInterface({ input: running.stdout });
  const [line] = await Promise.race([once(lines, "line"), exited]);
  assert.equal(typeof line, "string", `the gateway did not start, and exited with ${line}`);
  const stop = async () => {
    running.kill("SIGKILL");
    await exited;
  };
  return { url: line.match(/http:\/\/[\d.:]+/)[0], stop };
}

/** Opens the page at `url`. `faults` are its errors, and its requests to other hosts. */
async function openPage(url) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  context.setDefaultTimeout(BOUND);
  const page = await context.newPage();
  const faults = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) faults.push(`${message.type()}: ${message.text()}`);
  });
  page.on("pageerror", (error) => faults.push(error.message));
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== url) faults.push(`request to ${request.url()}`);
  });
  await page.goto(url);
  await page.locator("#connection[data-state=live]").waitFor();
  return { page, faults };
}

async function call(url, body) {
  const options = {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  };
  const response = await fetch(`${url}/v1/chat/completions`, options);
  await response.text();
  return response;
}

const demoCall = () =>
  call(gateway.url, { model: "demo", stream: true, messages: [{ role: "user", content: "hello" }] });

const row = (target) => page.locator(`#target-rows tr[data-target="${target}"]`);
const stateOf = (target) => row(target).locator(".state").getAttribute("data-state");
const visibleCalls = () => page.locator("#call-rows tr[data-call]:visible");

/** Calls until `reached`. */
async function callUntil(reached) {
  for (let calls = 0; calls < MAX_CALLS; calls += 1) {
    if (await reached()) return;
    await demoCall();
  }
  assert.fail(`not within ${MAX_CALLS} calls`);
}

/** Presses Tab until the focus, which is visible, is on `target`. */
async function tabTo(target) {
  for (let presses = 0; presses < 60; presses += 1) {
    if (await target.evaluate((element) => element === document.activeElement)) {
      assert.notEqual(await target.evaluate((element) => getComputedStyle(element).outlineStyle), "none");
      return;
    }
    await page.keyboard.press("Tab");
  }
  assert.fail("the focus has not reached the element");
}

test("a target is a row, and nothing is red before the first call", async () => {
  const names = await page.locator("#target-rows th .name").allTextContents();
  assert.deepEqual(names, ["flaky/any", "flaky/demo", "steady/any", "steady/demo"]);
  assert.deepEqual(await Promise.all(names.map(stateOf)), ["closed", "closed", "closed", "closed"]);
  assert.equal(await page.locator("#summary").textContent(), "4 targets, all healthy");
  assert.match(await page.locator("#calls-empty").textContent(), /^No calls yet/);
});

test("the circuit opens and closes while the flaky provider fails and recovers", async () => {
  await callUntil(async () => (await stateOf("flaky/demo")) === "open");
  await row("flaky/demo")
    .locator(".wait", { hasText: /^probes in \d\.\d s$/ })
    .waitFor();
  assert.equal(await page.locator("#summary").textContent(), "4 targets, 1 not healthy");
  await screenshots("open");
  await callUntil(async () => (await stateOf("flaky/demo")) === "closed");
  const changes = page.locator("#transition-list li[data-target='flaky/demo']");
  const texts = await changes.allTextContents();
  assert.match(texts.at(-1), /closed → ?open3 consecutive E3002, for 5 s$/);
  assert.ok(
    texts.some((text) => /half-open → ?closeda probe succeeded, after \d/.test(text)),
    texts.join("\n"),
  );
  const lane = page.locator(".lane[data-target='flaky/demo'] rect[data-state='open']");
  assert.ok((await lane.count()) > 0);
});

test("figures and charts follow the calls", async () => {
  await page.locator("#figure-rate", { hasText: /^[1-9]|0\.[1-9]/ }).waitFor();
  assert.match(await page.locator("#figure-token").textContent(), /^\d+ ms$/);
  await page.locator("#calls-chart canvas").waitFor();
  assert.match(await page.locator("#token-chart").getAttribute("aria-label"), /steady\/demo: \d+ ms/);
  assert.match(
    await row("flaky/demo").locator("[data-label='Fallbacks used']").textContent(),
    /^steady\/demo \d+ of \d+$/,
  );
});

test("the trail of a call opens by the keyboard, and shows why another target answered", async () => {
  const fallback = visibleCalls()
    .filter({ has: page.locator(".tag:visible") })
    .first();
  const id = await fallback.getAttribute("data-call");
  const opener = page.locator(`tr[data-call="${id}"] button`);
  await opener.focus();
  await page.keyboard.press("Enter");
  assert.equal(await opener.getAttribute("aria-expanded"), "true");
  const trail = page.locator(`tr[data-call="${id}"] + tr.details .trail`);
  await trail.locator("li", { hasText: "falls back to steady/demo" }).waitFor();
  await trail.locator("li", { hasText: "response complete, 200" }).waitFor();
});

test("the filter selects calls by text and by result", async () => {
  const text = page.locator("#filter-text");
  await text.fill("FLAKY/demo");
  const count = await visibleCalls().count();
  assert.ok(count > 0);
  assert.equal(await visibleCalls().filter({ hasText: "flaky/demo" }).count(), count);
  await page.locator("#filter-kind").selectOption("fallback");
  assert.equal(await visibleCalls().count(), 0);
  assert.equal(await page.locator("#calls-empty").textContent(), "No call matches the filter.");
  await text.fill("");
  const fallbacks = await visibleCalls().count();
  assert.equal(await visibleCalls().filter({ hasText: "steady/demo" }).count(), fallbacks);
  await page.locator("#filter-kind").selectOption("all");
});

test("a target is forced open and reset by the keyboard alone, after a confirmation", async () => {
  const dialog = page.locator("#confirm");
  const button = (action) => row("steady/any").locator(`[data-action=${action}]`);
  await page.locator(".skip").focus();
  await page.keyboard.press("Enter");
  await tabTo(button("force-open"));
  await page.keyboard.press("Enter");
  assert.match(await dialog.textContent(), /Force steady\/any open\?/);
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "hidden" });
  assert.equal(await stateOf("steady/any"), "closed");

  await tabTo(button("force-open"));
  await page.keyboard.press("Enter");
  await tabTo(page.locator("#confirm-yes"));
  await page.keyboard.press("Enter");
  await row("steady/any").locator(".wait", { hasText: "held until a reset" }).waitFor();
  assert.equal(await stateOf("steady/any"), "open");
  assert.equal(await button("force-open").evaluate((element) => element === document.activeElement), true);

  await page.keyboard.press("Shift+Tab");
  await tabTo(button("reset"));
  await page.keyboard.press("Enter");
  await tabTo(page.locator("#confirm-yes"));
  await page.keyboard.press("Enter");
  await row("steady/any").locator(".state[data-state=closed]").waitFor();
  const changes = await page.locator("#transition-list li[data-target='steady/any']").allTextContents();
  assert.equal(changes.length, 2);
  assert.match(changes[0], /closedreset, after/);
});

test("names that are markup stay text", async () => {
  const directory = mkdtempSync(join(tmpdir(), "tidegate-"));
  const file = join(directory, "hostile.toml");
  writeFileSync(file, HOSTILE);
  const hostile = await startGateway(["--config", file]);
  try {
    const { page, faults } = await openPage(hostile.url);
    const response = await call(hostile.url, { model: "<script>document.title=2</script>", messages: [] });
    assert.equal(response.ok, false);
    await page.locator("#target-rows .state[data-state=open]").waitFor();
    await page.locator("#call-rows tr[data-call] button").click();
    await page.locator(".trail li", { hasText: "failed with" }).first().waitFor();
    await page.locator("[data-action=force-closed]").click();
    await page.locator("#confirm-yes").click();
    await page.locator("#target-rows .state[data-state=closed]").waitFor();
    const text = await page.locator("main").innerText();
    assert.ok(text.includes(`p/${MARKUP}`) && text.includes(`policy ${MARKUP}`), text);
    assert.ok(text.includes("<script>document.title=2</script>"), text);
    assert.equal(await page.locator("main img, main script").count(), 0);
    assert.equal(await page.title(), "tidegate");
    assert.deepEqual(faults, []);
    await page.context().close();
  } finally {
    await hostile.stop();
    rmSync(directory, { recursive: true });
  }
});

/** Pictures of the whole page, on a phone and on a desk, light and dark. Nothing is wider than the window. */
async function screenshots(name) {
  for (const [width, height] of [
    [390, 844],
    [1280, 900],
  ]) {
    for (const colorScheme of ["light", "dark"]) {
      await page.setViewportSize({ width, height });
      await page.emulateMedia({ colorScheme });
      await page.evaluate(() => window.scrollTo(0, 0));
      assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= width, `${width} px`);
      await page.screenshot({
        path: join(SCREENSHOTS, `${name}-${width}-${colorScheme}.png`),
        fullPage: true,
      });
    }
  }
}

test("the page fits a phone and a desk, light and dark", () => screenshots("closed"));

test("there were no errors, and no requests to another host", () => assert.deepEqual(faults, []));

test("the page shows that the gateway is gone, and follows the next events by itself", async () => {
  const { page } = await openPage(gateway.url);
  await page.route("**/live", (route) =>
    route.fulfill({ status: 503, json: { error: { message: "the gateway stops" } } }),
  );
  await page.evaluate(() => window.stop());
  await page.locator("#connection[data-state=lost]").waitFor();
  await page.locator("#notice", { hasText: "No events: the gateway stops" }).waitFor();
  await page.unroute("**/live");
  await page.locator("#connection[data-state=live]").waitFor();
  await page.locator("#notice").waitFor({ state: "hidden" });
});
