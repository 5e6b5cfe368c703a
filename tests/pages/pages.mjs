// Looks at the pages of a running edge in Debian's Chromium, as support and customers do. Started by
// tests/it/pages.rs, which has the world around it; `ask` has it change something there.
//
// PAGES_SCREENSHOTS=DIR keeps pictures of the pages there; PAGES_SCENARIO=TEXT runs those scenarios
// alone whose name holds it; PAGES_ASSETS=1 takes style sheet and script from the source, so that work
// on them needs no build.

import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

import { chromium } from "playwright-core";

const world = JSON.parse(process.argv[2]);
const pictures = process.env.PAGES_SCREENSHOTS;
const axe = await readFile(new URL("node_modules/axe-core/axe.min.js", import.meta.url), "utf8");

/** What a page must be readable on. */
const DESK = { width: 1280, height: 900 };
const PHONE = { width: 390, height: 844 };

// --- the world around --------------------------------------------------------------------------

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
async function ask(wish) {
  console.log(JSON.stringify(wish));
  const { value } = await answers.next();
  assert.equal(value, "done");
}

// --- the browser -------------------------------------------------------------------------------

const profile = await mkdtemp(join(tmpdir(), "linkseal-pages-"));
const browser = await chromium.launch({
  executablePath: process.env.PAGES_CHROMIUM ?? "/usr/bin/chromium",
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars",
  ],
  env: { ...process.env, HOME: profile, XDG_CONFIG_HOME: profile, XDG_CACHE_HOME: profile },
});

/** What no page may do: complain, break its own policy, load from elsewhere. */
const complaints = [];

async function visitor({ language = "en", size = DESK, scheme = "light", script = true } = {}) {
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
      const body = await readFile(new URL(`../../src/admin/pages/pages.${kind}`, import.meta.url));
      await context.route(`**/assets/pages-*.${kind}`, (route) => route.fulfill({ body, contentType: type }));
    }
  }
  page.on("console", (message) => {
    const status = /Failed to load resource: the server responded with a status of (\d+)/.exec(message.text());
    // The browser reports every page with an error's status; the script asks for some on purpose.
    if (message.type() === "error" && !status) complaints.push(`${at()}: ${message.text()}`);
  });
  page.on("pageerror", (error) => complaints.push(`${at()}: ${error}`));
  page.on("request", (request) => {
    if (!request.url().startsWith(world.admin)) complaints.push(`${at()} asks ${request.url()}`);
  });
  return page;
}

async function signIn(page, name) {
  await page.goto("/");
  assert.match(page.url(), /\/sign-in\?next=/);
  await page.locator("#token").fill(world.tokens[name]);
  await page.locator("main button").click();
  await page.waitForURL(`${world.admin}/`);
}

/** What every page has to be: on a desk in light colours, on a phone in dark ones. */
async function check(page, name) {
  const { width, height } = page.viewportSize();
  for (const [size, colorScheme] of [[DESK, "light"], [PHONE, "dark"]]) {
    await page.setViewportSize(size);
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    const place = `${name} (${size.width} px, ${colorScheme})`;
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    assert.ok(wide <= 0, `${place} is ${wide} px wider than its window`);
    // Run beside the page's policy, as a browser's extension would be.
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

/** A picture of what is seen at first, or from an element on. */
async function picture(page, name, { size = DESK, scheme = "light", from = "body" } = {}) {
  if (!pictures) return;
  await page.setViewportSize(size);
  await page.emulateMedia({ colorScheme: scheme });
  await page.evaluate((from) => {
    document.activeElement?.blur();
    scrollTo(0, from === "body" ? 0 : document.querySelector(from).getBoundingClientRect().top + scrollY - 16);
  }, from);
  await page.screenshot({ path: join(pictures, `${name}.png`) });
  await page.setViewportSize(DESK);
  await page.emulateMedia({ colorScheme: null });
}

// --- what people do ----------------------------------------------------------------------------

const scenarios = {
  async "a stranger is asked for a token, and a wrong one is refused"() {
    const page = await visitor();
    await page.goto("/issuer");
    assert.match(page.url(), /\/sign-in\?next=%2Fissuer/);
    await check(page, "sign-in");
    await picture(page, "sign-in");
    await page.locator("#token").fill("not-this-one-0123456789");
    await page.locator("main button").click();
    assert.match(await page.locator("[role=alert]").innerText(), /not known/);
    await check(page, "sign-in, refused");
    await page.locator("#token").fill(world.tokens.auditor);
    await page.keyboard.press("Enter");
    await page.waitForURL("**/issuer");
    await page.context().close();
  },

  async "the list is searched, filtered and paged, and back goes back"() {
    const page = await visitor();
    await signIn(page, "ops");
    assert.equal(await page.locator("tbody tr").count(), 100);
    const all = Number(await page.locator(".counts .all strong").innerText());
    assert.ok(all > world.fleet, `${all} domains`);
    await check(page, "list");

    // Page by page, none twice and none left out; then back.
    const seen = new Set();
    const names = () => page.locator("tbody th a").allInnerTexts();
    const first = await names();
    for (const name of first) seen.add(name);
    let pages = 1;
    while (await page.getByRole("link", { name: "Next page" }).count()) {
      await page.getByRole("link", { name: "Next page" }).click();
      for (const name of await names()) {
        assert.ok(!seen.has(name), `${name} is shown twice`);
        seen.add(name);
      }
      pages += 1;
    }
    assert.equal(seen.size, all);
    assert.equal(pages, Math.ceil(all / 100));
    for (; pages > 1; pages -= 1) await page.goBack();
    assert.deepEqual(await names(), first);

    // By the beginning of a name, as pasted; by state; by reason; by tenant.
    await page.getByLabel("Name starts with").fill("https://LINKS.acme.test/c/abc");
    await page.keyboard.press("Enter");
    await page.waitForURL("**/?q=*");
    assert.deepEqual(await names(), ["links.acme.test"]);
    assert.match(await page.locator("tbody tr").innerText(), /SSL issued/);
    await page.getByLabel("Name starts with").fill("nobody.");
    await page.keyboard.press("Enter");
    await page.getByText("No domains found whose name starts with").waitFor();
    await check(page, "list, empty");
    await page.getByRole("link", { name: "Show all" }).click();
    await page.locator(".counts .pending a").click();
    assert.deepEqual(await names(), ["go.shop.test"]);
    assert.match(await page.locator("tbody tr").innerText(), /SSL pending/);
    await page.goto("/");
    await page.getByLabel("Reason").selectOption("dns_elsewhere");
    await page.getByRole("button", { name: "Find" }).click();
    await page.waitForURL("**reason=dns_elsewhere**");
    assert.deepEqual(await names(), ["news.club.test"]);
    assert.match(await page.locator("tbody tr").innerText(), /SSL unknown/);
    await page.goto("/");
    await page.getByLabel("Tenant").fill("fleet");
    await page.keyboard.press("Enter");
    await page.waitForURL("**tenant=fleet**");
    assert.equal(await page.locator(".counts .all strong").innerText(), String(world.fleet));
    await page.goto("/?state=nonsense");
    assert.equal(await page.locator("h1").innerText(), "Request failed");
    await check(page, "problem");
    await page.context().close();
  },

  async "a customer's domain is registered, explained, mended and issued while one looks on"() {
    const page = await visitor();
    await signIn(page, "ops");
    await page.getByRole("link", { name: "Register a domain" }).click();
    await check(page, "register");
    await page.getByLabel("Domain", { exact: true }).fill("*.customer.test");
    await page.getByRole("button", { name: "Register" }).click();
    assert.match(await page.locator("#name-error").innerText(), /^Wildcards are not possible/);
    assert.equal(await page.locator("#name").getAttribute("aria-invalid"), "true");
    await check(page, "register, refused");
    await page.getByLabel("Domain", { exact: true }).fill("Links.Customer.test");
    await page.getByLabel("Sending domain").fill("customer.test");
    await page.getByRole("button", { name: "Register" }).click();
    await page.waitForURL("**/domains/links.customer.test?done=registered");
    await page.locator(".badge", { hasText: "SSL unknown" }).first().waitFor();
    await check(page, "domain, unknown");

    // What to enter where, and where to click.
    await page.getByRole("link", { name: "Verify now" }).click();
    await page.waitForURL("**/dns");
    const cname = page.locator(".record", { hasText: "CNAME links.customer.test" });
    assert.match(await cname.innerText(), /Missing/);
    assert.match(await cname.innerText(), /Create the record links\.customer\.test CNAME track\.edge\.test/);
    await page.getByText("Your DNS provider: Hetzner").waitFor();
    await cname.getByRole("button", { name: "Copy: host" }).click();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), "links");
    await cname.getByRole("button", { name: "value" }).click();
    await page.waitForFunction(() => document.getElementById("announce").textContent === "Copied");
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), world.edge);
    await check(page, "records");
    await picture(page, "records", { from: "#records" });
    await picture(page, "records-phone", { size: PHONE, scheme: "dark", from: "#records" });

    // Verified too early, nothing is ordered; the records say so.
    await page.getByRole("button", { name: "Verify domain" }).click();
    await page.waitForURL("**/dns?at=*");
    assert.match(await page.locator("#state .sentence").innerText(), /Create the DNS record/);

    // The customer enters it; then it goes by itself.
    await ask({ do: "cname", name: "links.customer.test" });
    await ask({ do: "slow" });
    await page.getByRole("button", { name: "Verify domain" }).click();
    await page.waitForURL("**/dns?at=*");
    await page.locator(".badge", { hasText: "SSL pending" }).first().waitFor();
    await page.locator(".steps .now").waitFor();
    await check(page, "domain, pending");
    await picture(page, "verify");
    await page.locator("#state .badge", { hasText: "SSL issued" }).waitFor();
    await page.locator("#certificate").getByText("Issued by").waitFor();
    assert.match(await page.locator("#announce").innerText(), /^Secured; renews automatically/);
    assert.equal(await page.locator(".steps .done").count(), 4);
    await ask({ do: "visit", name: "links.customer.test" });
    await page.goto("/domains/links.customer.test");
    await check(page, "domain, issued");
    await page.context().close();
  },

  async "a domain in use shows its certificate, opens, clicks and history"() {
    const page = await visitor();
    await signIn(page, "ops");
    await page.goto("/domains/links.acme.test");
    await page.locator(".chart svg").waitFor();
    assert.match(await page.locator(".chart svg").getAttribute("aria-label"), /^\d+ opens and \d+ clicks/);
    const bars = await page.locator(".chart rect").count();
    assert.ok(bars > 20, `${bars} bars`);
    await page.getByText("Recent events").click();
    assert.equal(await page.locator(".events li").count(), 12);
    await check(page, "domain, in use");
    await page.getByText("Recent events").click();
    await picture(page, "domain");
    await picture(page, "domain-phone", { size: PHONE, scheme: "dark" });
    await page.goto("/domains/links.acme.test/history");
    assert.match(await page.locator(".history").innerText(), /Certificate issued/);
    await check(page, "history");
    await page.context().close();
  },

  async "settings are for those who may, and work"() {
    const page = await visitor();
    await signIn(page, "ops");
    await page.goto("/domains/c000.fleet.test");
    await page.locator("#confirm-pause > summary").click();
    await page.getByRole("button", { name: "Yes, pause" }).click();
    await page.getByText("Issuance is paused. A certificate").waitFor();
    assert.match(await page.locator("#state .sentence").innerText(), /^Certificate orders have been paused since/);
    await check(page, "domain, paused");
    await page.getByRole("button", { name: "Resume" }).click();
    await page.getByText("Issuance is resumed.").waitFor();
    await page.locator("#confirm-http > summary").click();
    await page.getByRole("button", { name: "Yes, switch HTTP off" }).click();
    await page.getByRole("button", { name: "Switch HTTP on" }).waitFor();
    await page.locator("#confirm-reissue > summary").click();
    await page.getByRole("button", { name: "Yes, order a new certificate" }).click();
    await page.getByText("A new certificate is being ordered.").waitFor();
    await page.locator("#state .badge", { hasText: "SSL issued" }).waitFor();
    await page.context().close();

    const auditor = await visitor();
    await signIn(auditor, "auditor");
    assert.equal(await auditor.getByRole("link", { name: "Register a domain" }).count(), 0);
    await auditor.goto("/domains/go.shop.test");
    assert.equal(await auditor.locator("#settings").count(), 0);
    await auditor.goto("/domains/go.shop.test/dns");
    assert.equal(await auditor.getByRole("button", { name: "Verify domain" }).count(), 0);
    await auditor.goto("/register");
    assert.equal(await auditor.locator("h1").innerText(), "Not allowed");
    await auditor.goto("/nowhere");
    assert.equal(await auditor.locator("h1").innerText(), "Not found");
    await auditor.getByRole("button", { name: "Sign out" }).click();
    await auditor.waitForURL("**/sign-in");
    await auditor.context().close();
  },

  async "many are imported, with a result for each line"() {
    const page = await visitor();
    await signIn(page, "ops");
    await page.getByRole("link", { name: "Import", exact: true }).click();
    await check(page, "import");
    const text = "a1.import.test\na2.import.test, acme, mail.test\n\n*.import.test\na1.import.test\n<b>x</b>.test\n";
    await page.locator("#file").setInputFiles({ name: "names.csv", mimeType: "text/csv", buffer: Buffer.from(text) });
    await page.waitForFunction((t) => document.getElementById("lines").value === t, text);
    await page.locator("main form button").click();
    await page.getByText("1 registered").or(page.getByText("2 registered")).waitFor();
    const rows = await page.locator("tbody tr").allInnerTexts();
    assert.deepEqual(rows.map((r) => r.trim().split(/\s/)[0]), ["1", "2", "4", "5", "6"]);
    assert.match(rows[2], /wildcards are not possible/);
    // What was not taken stands there to be mended; what was typed is text and nothing else.
    assert.equal(await page.locator("#lines").inputValue(), "*.import.test\n<b>x</b>.test");
    assert.equal(await page.locator("tbody b").count(), 0);
    await check(page, "import, done");
    await page.context().close();
  },

  async "the issuer's page tells accounts, limits and queue"() {
    const page = await visitor();
    await signIn(page, "ops");
    await page.getByRole("link", { name: "Issuance" }).click();
    await page.getByText("Orders of the account").waitFor();
    assert.ok((await page.locator("meter").count()) >= 1);
    await check(page, "issuer");
    await picture(page, "issuer", { scheme: "dark" });
    await page.context().close();
  },

  async "everything is there in German, and the choice is kept"() {
    const page = await visitor({ language: "de-AT" });
    await signIn(page, "ops");
    assert.equal(await page.locator("html").getAttribute("lang"), "de");
    assert.match(await page.locator(".counts").innerText(), /SSL ausgestellt/);
    await check(page, "Liste");
    await picture(page, "list");
    await picture(page, "list-phone", { size: PHONE });
    for (const path of ["/domains/news.club.test/dns", "/domains/go.shop.test", "/issuer", "/register", "/import", "/nirgends"]) {
      await page.goto(path);
      await check(page, path);
      const text = await page.locator("body").innerText();
      for (const english of ["Verify", "Settings", "History", "Skip to", "Sign out", "missing", "Back"]) {
        assert.ok(!text.includes(english), `${path}: "${english}" in\n${text}`);
      }
    }
    await page.goto("/domains/news.club.test/dns");
    assert.match(await page.locator("#state .sentence").innerText(), /zeigt auf old\.platform\.example\. Ändern Sie/);
    await page.getByRole("link", { name: "English" }).click();
    await page.getByText("Verify domain").waitFor();
    await page.goto("/");
    assert.match(await page.locator(".counts").innerText(), /SSL issued/);
    await page.context().close();
  },

  async "a customer mends a domain by a link, and sees nothing else"() {
    const page = await visitor();
    await signIn(page, "helpdesk");
    await page.goto("/domains/news.club.test");
    await page.getByRole("link", { name: "Share with the owner" }).click();
    await page.getByRole("button", { name: "Create link" }).click();
    await check(page, "share");
    await page.getByRole("button", { name: "Copy: link" }).click();
    await page.waitForFunction(() => document.getElementById("announce").textContent === "Copied");
    const link = await page.evaluate(() => navigator.clipboard.readText());
    assert.ok(link.startsWith(`${world.admin}/share/`), link);

    // Another browser, without a session.
    const customer = await visitor({ language: "de" });
    await customer.goto(link);
    assert.equal(await customer.locator("h1").innerText(), "news.club.test");
    assert.equal(await customer.locator(".brand").innerText(), world.platform);
    await check(customer, "shared");
    await customer.getByRole("link", { name: "Jetzt überprüfen" }).click();
    await customer.getByText("Ihr DNS-Anbieter: Hetzner").waitFor();
    await check(customer, "shared, records");
    await picture(customer, "customer");
    await picture(customer, "customer-phone", { size: PHONE });
    await ask({ do: "cname", name: "news.club.test" });
    await customer.getByRole("button", { name: "Domain überprüfen" }).click();
    await customer.locator("#state .badge", { hasText: "SSL ausgestellt" }).waitFor();
    const text = await customer.locator("body").innerText();
    for (const fleet of ["helpdesk", "by test", "Mandant", "Einstellungen", "Abmelden", "Alle Domains", "Knoten"]) {
      assert.ok(!text.includes(fleet), `"${fleet}" in\n${text}`);
    }
    await customer.goto("/");
    assert.match(customer.url(), /sign-in/);
    await customer.goto(link.replace("/share/", "/share/x"));
    assert.equal(await customer.locator("nav").count(), 0);
    await check(customer, "shared, a wrong link");

    await page.goto("/domains/news.club.test/share");
    await page.getByRole("button", { name: "Revoke" }).click();
    await page.getByText("All links to this domain have been revoked.").waitFor();
    const answer = await customer.goto(link);
    assert.ok(answer.status() >= 400, `${answer.status()}`);
    await customer.context().close();
    await page.context().close();
  },

  async "it works without the script, and by the keyboard alone"() {
    const page = await visitor({ script: false });
    await signIn(page, "ops");
    await page.goto("/domains/c001.fleet.test");
    await page.getByRole("link", { name: "Verify now" }).click();
    await page.getByRole("button", { name: "Verify domain" }).click();
    assert.equal(await page.locator("button[data-copy]:visible").count(), 0);
    // The page comes again by itself while something is on its way.
    await page.locator("#state .badge", { hasText: "SSL issued" }).waitFor();
    await page.context().close();

    const keys = await visitor();
    await signIn(keys, "ops");
    await keys.keyboard.press("Tab");
    assert.equal(await keys.evaluate(() => document.activeElement.textContent), "Skip to content");
    await keys.keyboard.press("Enter");
    assert.equal(await keys.evaluate(() => document.activeElement.id), "main");
    await keys.context().close();
  },

  async "a CA that holds everything back is told of"() {
    const page = await visitor();
    await signIn(page, "helpdesk");
    await ask({ do: "limit" });
    await page.goto("/domains/c002.fleet.test/dns");
    await page.getByRole("button", { name: "Verify domain" }).click();
    await page.locator("#state .badge", { hasText: "SSL pending" }).waitFor();
    await page.locator("#state .sentence", { hasText: "A limit of 127.0.0.1 has been reached" }).waitFor();
    assert.equal(await page.locator("#confirm-reissue").count(), 0);
    await page.goto("/issuer");
    await page.getByText("No CA accepts orders until").waitFor();
    await check(page, "issuer, held back");
    await page.context().close();
    const ops = await visitor();
    await signIn(ops, "ops");
    await ops.goto("/domains/c003.fleet.test");
    await ops.locator("#confirm-reissue > summary").click();
    await ops.getByRole("button", { name: "Yes, order a new certificate" }).click();
    assert.equal(await ops.locator("h1").innerText(), "No new certificate at the moment");
    assert.match(await ops.locator("main").innerText(), /allow the next order at/);
    await check(ops, "refusal");
    await ops.context().close();
  },
};

let failed = false;
for (const [name, run] of Object.entries(scenarios)) {
  if (process.env.PAGES_SCENARIO && !name.includes(process.env.PAGES_SCENARIO)) continue;
  const begun = Date.now();
  try {
    await run();
    assert.deepEqual(complaints, []);
    console.log(`ok ${name} (${Date.now() - begun} ms)`);
  } catch (error) {
    failed = true;
    console.log(`FAILED ${name}: ${error.stack}`);
    complaints.length = 0;
  }
}
await browser.close();
await rm(profile, { recursive: true, force: true });
process.exit(failed ? 1 : 0);
