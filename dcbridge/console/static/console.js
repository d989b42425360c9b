// What a page does besides being read: it refreshes its figures, copies a command, and knows a few keys.
// Everything works without it.
"use strict";
(() => {
  const said = document.getElementById("said");
  const say = (words) => { if (said) said.textContent = words; };
  const typing = (target) => target.closest("input, textarea, select, [contenteditable]") !== null;
  const store = {
    get(key) { try { return localStorage.getItem(key); } catch { return null; } },
    set(key, value) { try { localStorage.setItem(key, value); } catch { /* a private window */ } },
  };

  // ---------------------------------------------------------------- refresh

  const regions = [...document.querySelectorAll("[data-refresh]")];
  let paused = false;
  let busy = false;
  let button = null;

  const inUse = (region) =>
    region.contains(document.activeElement) && document.activeElement !== document.body
    || region.querySelector("details[open]") !== null
    || (!getSelection().isCollapsed && region.contains(getSelection().anchorNode));

  async function refresh() {
    if (busy || paused || document.hidden) return;
    busy = true;
    try {
      const answer = await fetch(location.href, { headers: { "X-Refresh": "1" }, redirect: "error", credentials: "same-origin" });
      if (!answer.ok) throw new Error(String(answer.status));
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const region of regions) {
        const other = fresh.getElementById(region.id);
        if (!other || inUse(region) || other.innerHTML === region.innerHTML) continue;
        const before = region.querySelector("[data-say]")?.textContent;
        region.replaceChildren(...other.childNodes);
        copyButtons(region);
        const now = region.querySelector("[data-say]")?.textContent;
        if (now && now !== before) say(now.trim().replace(/\s+/g, " "));
      }
      if (button) button.classList.remove("stale");
    } catch {
      say("The page could not be refreshed.");
    } finally {
      busy = false;
    }
  }

  function pause(value) {
    paused = value;
    if (!button) return;
    button.textContent = paused ? "Continue refresh" : "Pause refresh";
    button.setAttribute("aria-pressed", String(paused));
    if (!paused) refresh();
  }

  if (regions.length) {
    const every = Math.max(2, Math.min(...regions.map((one) => Number(one.dataset.refresh) || 10)));
    setInterval(refresh, every * 1000);
    document.addEventListener("visibilitychange", refresh);
    const tools = document.querySelector(".title .tools");
    if (tools) {
      button = document.createElement("button");
      button.type = "button";
      button.className = "small";
      button.addEventListener("click", () => pause(!paused));
      tools.append(button);
      button.textContent = "Pause refresh";
      button.setAttribute("aria-pressed", "false");
    }
  }

  // ---------------------------------------------------------------- copying a command

  function copyButtons(within) {
    if (!navigator.clipboard) return;
    for (const code of within.querySelectorAll("code[data-copy]")) {
      const copy = document.createElement("button");
      copy.type = "button";
      copy.className = "small";
      copy.textContent = "Copy";
      copy.setAttribute("aria-label", `Copy ${code.textContent}`);
      copy.addEventListener("click", async () => {
        try {
          await navigator.clipboard.writeText(code.textContent);
          say("Copied.");
          copy.textContent = "Copied";
          setTimeout(() => { copy.textContent = "Copy"; }, 1500);
        } catch {
          say("It could not be copied.");
        }
      });
      code.after(copy);
    }
  }
  copyButtons(document);

  // ---------------------------------------------------------------- a form is sent once

  document.addEventListener("submit", (event) => {
    const sender = event.submitter;
    setTimeout(() => { if (sender && !event.defaultPrevented) sender.disabled = true; }, 0);
  });
  addEventListener("pageshow", (event) => {
    if (event.persisted) for (const one of document.querySelectorAll("button[disabled]")) one.disabled = false;
  });

  // ---------------------------------------------------------------- keys

  const places = { o: "/", m: "/messages", c: "/conversations", d: "/dead-letters" };
  const root = document.querySelector(".brand")?.getAttribute("href").replace(/\/$/, "") ?? "";
  const box = document.getElementById("keys");
  let enabled = store.get("dcbridge-keys") !== "off";
  if (box) {
    box.checked = enabled;
    box.addEventListener("change", () => {
      enabled = box.checked;
      store.set("dcbridge-keys", enabled ? "on" : "off");
    });
  }

  function row(step) {
    const links = [...document.querySelectorAll("main tbody th a, main .talk .head a")];
    if (!links.length) return;
    const at = links.indexOf(document.activeElement);
    links[Math.min(links.length - 1, Math.max(0, at + step))].focus();
  }

  let going = false;
  document.addEventListener("keydown", (event) => {
    if (!enabled || event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    if (going) {
      going = false;
      if (places[event.key] !== undefined) { event.preventDefault(); location.href = root + places[event.key]; }
      return;
    }
    switch (event.key) {
      case "/": {
        const field = document.getElementById("find");
        if (field) { event.preventDefault(); field.focus(); }
        break;
      }
      case "g": going = true; setTimeout(() => { going = false; }, 1200); break;
      case "j": row(1); break;
      case "k": row(-1); break;
      case "p": if (button) pause(!paused); break;
    }
  });
})();
