// Follows the page's events and puts its newest state in place. Without this
// script the page is the same, loaded again now and then.
"use strict";
const main = document.querySelector("main[data-events]");
if (main && window.EventSource) {
  const connection = document.getElementById("connection");
  let due = 0;
  const busy = () => {
    const at = document.activeElement;
    return at && main.contains(at) && /^(INPUT|TEXTAREA)$/.test(at.tagName);
  };
  const refresh = async () => {
    due = 0;
    if (busy() || document.hidden) { plan(); return; }
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (!answer.ok) { plan(); return; }
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.querySelector("main");
      const open = [...main.querySelectorAll("details")].map((d) => d.open);
      const told = [...main.querySelectorAll("input[type=radio]:checked")].length;
      if (!fresh || told) return;
      main.replaceChildren(...fresh.childNodes);
      main.querySelectorAll("details").forEach((d, i) => { d.open = open[i] || false; });
      document.title = page.title;
    } catch { plan(); }
  };
  const plan = () => { due = due || setTimeout(refresh, 2000); };
  const source = new EventSource(main.dataset.events);
  for (const kind of ["phase", "verdict", "decision", "command", "notice", "feedback", "missed"]) {
    source.addEventListener(kind, plan);
  }
  source.onopen = () => { connection.hidden = true; };
  source.onerror = () => {
    connection.textContent = "Connection lost: what you see may be old. Trying again.";
    connection.hidden = false;
  };
}
