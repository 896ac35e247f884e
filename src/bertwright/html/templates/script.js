"use strict";
(() => {
  const tip = document.getElementById("tip");
  const move = (event) => {
    const target = event.target instanceof Element && event.target.closest("[data-tip]");
    tip.hidden = !target;
    if (!target) return;
    tip.textContent = target.dataset.tip;
    const box = tip.getBoundingClientRect();
    const room = document.documentElement.clientWidth - box.width - 4;
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, room))}px`;
    const below = event.clientY + 18;
    tip.style.top = `${below + box.height < window.innerHeight ? below : Math.max(4, event.clientY - box.height - 12)}px`;
  };
  document.addEventListener("pointermove", move);
  document.addEventListener("pointerdown", move);
  document.addEventListener("scroll", () => { tip.hidden = true; }, true);

  const compare = (a, b) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    const difference = Number(a) - Number(b);
    return Number.isNaN(difference) ? a.localeCompare(b) : difference;
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    if (body.rows.length < 2) continue;
    table.querySelectorAll("th").forEach((heading, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = heading.textContent;
      heading.replaceChildren(button);
      button.addEventListener("click", () => {
        const numeric = heading.classList.contains("number");
        const order = heading.getAttribute("aria-sort") || (numeric ? "ascending" : "descending");
        const direction = order === "ascending" ? "descending" : "ascending";
        table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
        heading.setAttribute("aria-sort", direction);
        const key = (row) => row.cells[column].dataset.sort;
        const rows = [...body.rows].sort((a, b) => {
          const missing = (key(a) === "") - (key(b) === "");
          return missing || (direction === "ascending" ? 1 : -1) * compare(key(a), key(b));
        });
        body.append(...rows);
      });
    });
    const folded = body.querySelectorAll(".more");
    if (folded.length) {
      table.classList.add("folded-rows");
      const button = document.createElement("button");
      button.type = "button";
      button.className = "all";
      button.textContent = `Show all ${body.rows.length} rows`;
      button.addEventListener("click", () => { table.classList.remove("folded-rows"); button.remove(); });
      table.after(button);
    }
  }
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open]):not(.long)")];
    opened.forEach((part) => { part.open = true; });
  });
  window.addEventListener("afterprint", () => opened.forEach((part) => { part.open = false; }));
})();
