// The browser and what scenarios share: visitors, checks that hold for every page, screenshots.
//
// PAGES_SCREENSHOTS=DIR writes pictures of the pages to DIR. PAGES_ASSETS=1 takes style sheet and script
// from the source instead of the running edge, so that changes to them need no build.

import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

import { chromium } from "playwright-core";

export const world = JSON.parse(process.argv[2]);
const pictures = process.env.PAGES_SCREENSHOTS;
const axe = await readFile(new URL("node_modules/axe-core/axe.min.js", import.meta.url), "utf8");

/** Window sizes in which every page must be usable. */
export const DESKTOP = { width: 1280, height: 900 };
export const PHONE = { width: 390, height: 844 };

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
/** Has tests/it/pages.rs change the world around the edge, and waits until it has. */
export async function change(request) {
  console.log(JSON.stringify(request));
  const { value } = await answers.next();
  assert.equal(value, "done");
}

const profile = await mkdtemp(join(tmpdir(), "linkseal-pages-"));
const browser = await chromium.launch({
  executablePath: process.env.PAGES_CHROMIUM ?? "/usr/bin/chromium",
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars",
  ],
  env: { ...process.env, HOME: profile, XDG_CONFIG_HOME: profile, XDG_CACHE_HOME: profile },
});

/** What no page may cause: console errors (which include policy violations), exceptions, foreign requests. */
export const complaints = [];

/** A new browser session. */
export async function visitor({ language = "en", size = DESKTOP, scheme = "light", script = true } = {}) {
  const context = await browser.newContext({
    baseURL: world.admin,
    locale: language,
    viewport: size,
    colorScheme: scheme,
    javaScriptEnabled: script,
    reducedMotion: "reduce",
    permissions: ["clipboard-read", "clipboard-write"],
  });
  context.setDefaultTimeout(20_000);
  const page = await context.newPage();
  const at = () => new URL(page.url()).pathname;
  if (process.env.PAGES_ASSETS) {
    for (const [kind, type] of [["css", "text/css"], ["js", "text/javascript"]]) {
      const body = await readFile(new URL(`../../crates/linkseal-admin/src/pages/pages.${kind}`, import.meta.url));
      await context.route(`**/assets/pages-*.${kind}`, (route) => route.fulfill({ body, contentType: type }));
    }
  }
  page.on("console", (message) => {
    const status = /Failed to load resource: the server responded with a status of (\d+)/.exec(message.text());
    // The browser logs every response with an error status; some scenarios request such pages on purpose.
    if (message.type() === "error" && !status) complaints.push(`${at()}: ${message.text()}`);
  });
  page.on("pageerror", (error) => complaints.push(`${at()}: ${error}`));
  page.on("request", (request) => {
    if (!request.url().startsWith(world.admin)) complaints.push(`${at()} requests ${request.url()}`);
  });
  return page;
}

export async function signIn(page, name) {
  await page.goto("/");
  assert.match(page.url(), /\/sign-in\?next=/);
  await page.locator("#token").fill(world.tokens[name]);
  await page.locator("main button").click();
  await page.waitForURL(`${world.admin}/`);
}

/** Checks layout, accessibility and headings: on a desktop in light colours, on a phone in dark ones. */
export async function check(page, name) {
  const { width, height } = page.viewportSize();
  for (const [size, colorScheme] of [[DESKTOP, "light"], [PHONE, "dark"]]) {
    await page.setViewportSize(size);
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    const place = `${name} (${size.width} px, ${colorScheme})`;
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    assert.ok(wide <= 0, `${place} is ${wide} px wider than its window`);
    // Evaluated outside the page's content security policy, like a browser extension.
    const found = await page.evaluate(async (source) => {
      if (!window.axe) (0, eval)(source);
      const { violations } = await window.axe.run(document, { resultTypes: ["violations"] });
      return violations
        .filter((v) => v.impact === "serious" || v.impact === "critical")
        .map((v) => `${v.id}: ${v.help}: ${v.nodes.map((n) => `${n.html} ${n.any[0]?.message ?? ""}`).join("; ")}`);
    }, axe);
    assert.deepEqual(found, [], place);
  }
  await page.setViewportSize({ width, height });
  await page.emulateMedia({ colorScheme: null });
  const headings = await page.locator("h1").count();
  assert.equal(headings, 1, `${name}: one h1`);
}

/** A screenshot of the top of the page, or from an element on. */
export async function screenshot(page, name, { size = DESKTOP, scheme = "light", from = "body" } = {}) {
  if (!pictures) return;
  await page.setViewportSize(size);
  await page.emulateMedia({ colorScheme: scheme });
  await page.evaluate((from) => {
    document.activeElement?.blur();
    scrollTo(0, from === "body" ? 0 : document.querySelector(from).getBoundingClientRect().top + scrollY - 16);
  }, from);
  await page.screenshot({ path: join(pictures, `${name}.png`) });
  await page.setViewportSize(DESKTOP);
  await page.emulateMedia({ colorScheme: null });
}

/** Ends the browser and removes its profile. */
export async function close() {
  await browser.close();
  await rm(profile, { recursive: true, force: true });
}
