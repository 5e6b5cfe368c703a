// Makes the pages more convenient; everything works without it. It loads nothing from other
// hosts and stores nothing.
"use strict";

(() => {
  const announce = (text) => {
    const region = document.getElementById("announce");
    if (region) region.textContent = text;
  };

  // Copy buttons: shown only with this script.
  const copy = async (text) => {
    if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
    // Over plain HTTP the clipboard API is not available.
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "sr-only";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) throw new Error("not copied");
  };
  const showCopyButtons = (within) => {
    for (const button of within.querySelectorAll("button[data-copy]")) button.hidden = false;
  };
  showCopyButtons(document);
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy]");
    if (!button) return;
    try {
      const text = button.dataset.copy;
      await copy("link" in button.dataset ? new URL(text, location.href).href : text);
      announce(button.dataset.done);
      button.classList.add("copied");
      setTimeout(() => button.classList.remove("copied"), 2000);
    } catch {
      announce(button.dataset.failed);
    }
  });

  // Slow actions show a busy label, and are not sent twice.
  const busy = (element) => {
    if (!element.dataset.busy || element.getAttribute("aria-busy") === "true") return;
    element.setAttribute("aria-busy", "true");
    element.dataset.before = element.textContent;
    element.textContent = element.dataset.busy;
    announce(element.dataset.busy);
  };
  document.addEventListener("submit", (event) => {
    const button = event.submitter;
    if (!button) return;
    if (button.getAttribute("aria-busy") === "true") event.preventDefault();
    else busy(button);
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-busy]");
    if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) busy(link);
  });
  // A page restored from the back/forward cache is no longer busy.
  window.addEventListener("pageshow", () => {
    for (const element of document.querySelectorAll("[aria-busy=true]")) {
      element.removeAttribute("aria-busy");
      element.textContent = element.dataset.before;
    }
  });

  // A file to import is read into the text field, where it can be checked before it is sent.
  for (const input of document.querySelectorAll("input[type=file][data-into]")) {
    input.closest(".field").hidden = false;
    input.addEventListener("change", async () => {
      const [file] = input.files;
      if (file) document.getElementById(input.dataset.into).value = await file.text();
    });
  }

  // Live progress: while an order is in progress, the page is fetched again and changed parts are
  // replaced. A part is compared with what the server sent last, so that unchanged parts keep their
  // state, such as open details.
  const live = document.querySelector("[data-live]");
  if (!live) return;
  const { live: address, every } = live.dataset;
  const sent = new Map();
  for (const part of document.querySelectorAll("[data-part]")) sent.set(part.id, part.outerHTML);
  const sentence = (page) => page.querySelector("[data-say]")?.textContent.trim() ?? "";
  let said = sentence(document);
  const refresh = async () => {
    const answer = await fetch(address, { headers: { accept: "text/html" } });
    if (!answer.ok || answer.redirected) return 0;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const focused = document.activeElement?.id;
    for (const [id, before] of sent) {
      const [part, next] = [document.getElementById(id), fresh.getElementById(id)];
      if (!part || !next || next.outerHTML === before) continue;
      sent.set(id, next.outerHTML);
      const open = [...part.querySelectorAll("details[open][id]")].map((d) => d.id);
      part.replaceWith(document.adoptNode(next));
      for (const d of open) document.getElementById(d)?.setAttribute("open", "");
    }
    if (focused && document.activeElement === document.body) document.getElementById(focused)?.focus();
    const now = sentence(document);
    if (now !== said) announce(now);
    said = now;
    return Number(document.querySelector("[data-live]")?.dataset.every ?? 0);
  };
  let wait = Number(every);
  const again = () => {
    if (!wait) return;
    setTimeout(async () => {
      if (document.visibilityState === "visible") {
        try {
          wait = await refresh();
        } catch {
          // The network may be down for a moment: try again later.
          wait = Math.min(wait * 2, 30000);
        }
      }
      again();
    }, wait);
  };
  again();
})();
