"use strict";
// Every page works without this file. It makes filters instant, adds Copy, looks again at runs that go on, and takes over the
// theme of the Airflow page around.

const frame = (() => {
  try {
    return parent !== window && parent.document ? parent : null;
  } catch {
    return null; // a page of another origin
  }
})();

if (frame) {
  const around = frame.document.documentElement;
  const take = () => {
    const said = around.dataset.theme || (around.classList.contains("dark") ? "dark" : around.classList.contains("light") ? "light" : "");
    if (said) document.documentElement.dataset.theme = said;
  };
  take();
  new MutationObserver(take).observe(around, { attributes: true, attributeFilter: ["class", "data-theme"] });
  // Airflow's header says where this is, unless a link has led on to another page.
  const place = (path) => decodeURIComponent(path).match(/\/dags\/.*/)?.[0] ?? "";
  const shown = place(location.pathname);
  const crumbs = document.querySelector(".crumbs");
  if (crumbs && shown && place(frame.location.pathname).startsWith(`${shown}/plugin/`)) crumbs.hidden = true;
}

// Airflow's own pages do not fit into the frame, and the frame may not lead its parent elsewhere: a link of the parent may.
if (frame) {
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[data-airflow]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const own = frame.document.createElement("a");
    own.href = link.href;
    if (link.origin !== location.origin) own.rel = "noreferrer";
    own.toggleAttribute("download", link.hasAttribute("download"));
    frame.document.body.append(own);
    own.click();
    own.remove();
  });
}

function addCopy(root) {
  for (const text of root.querySelectorAll("[data-copy]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "btn tiny";
    button.textContent = "Copy";
    button.setAttribute("aria-label", `Copy ${text.textContent}`);
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(text.textContent);
        button.textContent = "Copied";
      } catch { // a frame may not write to the clipboard: the text is selected, so that Ctrl+C copies it
        getSelection().selectAllChildren(text);
        button.textContent = "Press Ctrl+C";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    text.after(button);
  }
}

function addFilter(root) {
  const table = root.querySelector("[data-filtered]");
  const field = root.querySelector("#filter");
  if (!table || !field) return;
  const chips = [...root.querySelectorAll(".chip[data-outcome]")];
  const rows = [...table.querySelectorAll("tr[data-outcome]")];
  let outcome = "";
  const show = () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const fits = (!outcome || row.dataset.outcome.split(" ").includes(outcome)) && words.every((word) => text.includes(word));
      row.hidden = !fits;
      count += fits;
    }
    for (const body of table.tBodies) body.hidden = !body.querySelector("tr[data-outcome]:not([hidden])");
    root.querySelector("#none").hidden = count > 0;
    root.querySelector("#said").textContent = `${count} of ${rows.length} tasks`;
  };
  for (const chip of chips) {
    chip.addEventListener("click", (event) => {
      event.preventDefault();
      outcome = chip.dataset.outcome;
      for (const one of chips) one.removeAttribute("aria-current");
      chip.setAttribute("aria-current", "true");
      show();
    });
  }
  field.addEventListener("input", show);
  field.form.addEventListener("submit", (event) => event.preventDefault());
}

function start(main) {
  addCopy(main);
  addFilter(main);
  if (main.dataset.live) setTimeout(() => lookAgain(main), Number(main.dataset.live) * 1000);
}

// A reader who types, has filtered or has opened something is left in peace until that is over.
async function lookAgain(main) {
  const at = main.contains(document.activeElement) ? document.activeElement : null; // after a click also a link or the graph
  const uses = at?.matches("input, select, summary, .confirm *, :focus-visible");
  const busy = document.hidden || uses || main.querySelector("tr[data-outcome][hidden], .confirm:target");
  if (!busy) {
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (answer.ok) {
        const found = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
        if (found.querySelector(".crumbs")) found.querySelector(".crumbs").hidden = main.querySelector(".crumbs")?.hidden ?? false;
        main.replaceWith(found);
        start(found);
        return;
      }
    } catch { /* the server is away for a moment */ }
  }
  setTimeout(() => lookAgain(main), Number(main.dataset.live) * 1000);
}

start(document.querySelector("main"));
