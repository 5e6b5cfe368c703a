// Scenarios for the admin pages in Debian's Chromium, as support staff and customers use them. Started by
// tests/it/pages.rs, which runs the edge and changes the world around it on request.
//
// PAGES_SCENARIO=TEXT runs only scenarios whose name contains TEXT; browser.mjs has more settings.

import assert from "node:assert/strict";

import { change, check, close, complaints, PHONE, screenshot, signIn, visitor, world } from "./browser.mjs";

const scenarios = {
  async "signing in requires a valid token"() {
    const page = await visitor();
    await page.goto("/issuer");
    assert.match(page.url(), /\/sign-in\?next=%2Fissuer/);
    await check(page, "sign-in");
    await screenshot(page, "sign-in");
    await page.locator("#token").fill("not-this-one-0123456789");
    await page.locator("main button").click();
    assert.match(await page.locator("[role=alert]").innerText(), /Unknown token/);
    await check(page, "sign-in, refused");
    await page.locator("#token").fill(world.tokens.auditor);
    await page.keyboard.press("Enter");
    await page.waitForURL("**/issuer");
    await page.context().close();
  },

  async "the list can be searched, filtered and paged"() {
    const page = await visitor();
    await signIn(page, "ops");
    assert.equal(await page.locator("tbody tr").count(), 100);
    const all = Number(await page.locator(".counts .all strong").innerText());
    assert.ok(all > world.fleet, `${all} domains`);
    await check(page, "list");

    // Forward through all pages, each domain exactly once; then back.
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

    // By a pasted link, by state, by reason, by tenant.
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

  async "a domain is registered, its records are explained and fixed, and it is issued"() {
    const page = await visitor();
    await signIn(page, "ops");
    await page.getByRole("link", { name: "Register a domain" }).click();
    await check(page, "register");
    await page.getByLabel("Domain", { exact: true }).fill("*.customer.test");
    await page.getByRole("button", { name: "Register" }).click();
    assert.match(await page.locator("#name-error").innerText(), /^Wildcards are not supported/);
    assert.equal(await page.locator("#name").getAttribute("aria-invalid"), "true");
    await check(page, "register, refused");
    await page.getByLabel("Domain", { exact: true }).fill("Links.Customer.test");
    await page.getByLabel("Sending domain").fill("customer.test");
    await page.getByRole("button", { name: "Register" }).click();
    await page.waitForURL("**/domains/links.customer.test?done=registered");
    await page.locator(".badge", { hasText: "SSL unknown" }).first().waitFor();
    await check(page, "domain, unknown");

    // The records to create, and where to create them.
    await page.getByRole("link", { name: "Verify now" }).click();
    await page.waitForURL("**/dns");
    const cname = page.locator(".record", { hasText: "CNAME links.customer.test" });
    assert.match(await cname.innerText(), /Missing/);
    assert.match(await cname.innerText(), /Create the (DNS )?record links\.customer\.test CNAME track\.edge\.test/);
    await page.getByText("Your DNS provider: Hetzner").waitFor();
    await cname.getByRole("button", { name: "Copy: host" }).click();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), "links");
    await cname.getByRole("button", { name: "value" }).click();
    await page.waitForFunction(() => document.getElementById("announce").textContent === "Copied");
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), world.edge);
    await check(page, "records");
    await screenshot(page, "records", { from: "#records" });
    await screenshot(page, "records-phone", { size: PHONE, scheme: "dark", from: "#records" });

    // Verifying before the record exists orders nothing.
    await page.getByRole("button", { name: "Verify domain" }).click();
    await page.waitForURL("**/dns?at=*");
    assert.match(await page.locator("#state .sentence").innerText(), /Create the DNS record/);

    // The customer creates the record; from then on the page follows the order by itself.
    await change({ do: "cname", name: "links.customer.test" });
    await change({ do: "slow" });
    await page.getByRole("button", { name: "Verify domain" }).click();
    await page.waitForURL("**/dns?at=*");
    await page.locator(".badge", { hasText: "SSL pending" }).first().waitFor();
    await page.locator(".steps .now").waitFor();
    await check(page, "domain, pending");
    await screenshot(page, "verify");
    await page.locator("#state .badge", { hasText: "SSL issued" }).waitFor();
    await page.locator("#certificate").getByText("Issued by").waitFor();
    assert.match(await page.locator("#announce").innerText(), /^The certificate is valid and will be renewed automatically/);
    assert.equal(await page.locator(".steps .done").count(), 4);
    await change({ do: "visit", name: "links.customer.test" });
    await page.goto("/domains/links.customer.test");
    await check(page, "domain, issued");
    await page.context().close();
  },

  async "an active domain shows its certificate, opens, clicks and history"() {
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
    await screenshot(page, "domain");
    await screenshot(page, "domain-phone", { size: PHONE, scheme: "dark" });
    await page.goto("/domains/links.acme.test/history");
    assert.match(await page.locator(".history").innerText(), /Certificate issued/);
    await check(page, "history");
    await page.context().close();
  },

  async "settings work, for those roles that may change them"() {
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

  async "an import reports a result for each line"() {
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
    assert.match(rows[2], /wildcards are not supported/);
    // Rejected lines stay in the form to be corrected. Input is shown as text, never as markup.
    assert.equal(await page.locator("#lines").inputValue(), "*.import.test\n<b>x</b>.test");
    assert.equal(await page.locator("tbody b").count(), 0);
    await check(page, "import, done");
    await page.context().close();
  },

  async "the issuance page shows accounts, limits and queue"() {
    const page = await visitor();
    await signIn(page, "ops");
    await page.getByRole("link", { name: "Issuance" }).click();
    await page.getByText("Orders of the account").waitFor();
    assert.ok((await page.locator("meter").count()) >= 1);
    await check(page, "issuer");
    await screenshot(page, "issuer", { scheme: "dark" });
    await page.context().close();
  },

  async "all pages exist in German, and the choice of language is kept"() {
    const page = await visitor({ language: "de-AT" });
    await signIn(page, "ops");
    assert.equal(await page.locator("html").getAttribute("lang"), "de");
    assert.match(await page.locator(".counts").innerText(), /SSL ausgestellt/);
    await check(page, "Liste");
    await screenshot(page, "list");
    await screenshot(page, "list-phone", { size: PHONE });
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

  async "a shared link lets a customer fix one domain and see nothing else"() {
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

    // Another browser without a session.
    const customer = await visitor({ language: "de" });
    await customer.goto(link);
    assert.equal(await customer.locator("h1").innerText(), "news.club.test");
    assert.equal(await customer.locator(".brand").innerText(), world.platform);
    await check(customer, "shared");
    await customer.getByRole("link", { name: "Jetzt überprüfen" }).click();
    await customer.getByText("Ihr DNS-Anbieter: Hetzner").waitFor();
    await check(customer, "shared, records");
    await screenshot(customer, "customer");
    await screenshot(customer, "customer-phone", { size: PHONE });
    await change({ do: "cname", name: "news.club.test" });
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

  async "the pages work without JavaScript and by keyboard"() {
    const page = await visitor({ script: false });
    await signIn(page, "ops");
    await page.goto("/domains/c001.fleet.test");
    await page.getByRole("link", { name: "Verify now" }).click();
    await page.getByRole("button", { name: "Verify domain" }).click();
    assert.equal(await page.locator("button[data-copy]:visible").count(), 0);
    // The page reloads while an order is in progress.
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

  async "a CA that holds back orders is reported"() {
    const page = await visitor();
    await signIn(page, "helpdesk");
    await change({ do: "limit" });
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
    assert.match(await ops.locator("main").innerText(), /The next certificate can be ordered at/);
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
await close();
process.exit(failed ? 1 : 0);
