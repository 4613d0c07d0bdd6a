"use strict";
// Sort a table by the column whose head is pressed; numbers by value, the rest by letters.
for (const head of document.querySelectorAll("table[data-sortable] th")) {
  const button = document.createElement("button");
  button.append(...head.childNodes);
  button.title = "sort";
  head.append(button);
  button.addEventListener("click", () => {
    const table = head.closest("table");
    const column = [...head.parentNode.children].indexOf(head);
    const down = head.getAttribute("aria-sort") === "descending" ? 1 : -1;
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down === 1 ? "ascending" : "descending");
    const body = table.tBodies[0];
    const key = (row) => {
      const cell = row.children[column];
      const text = cell.dataset.key ?? cell.textContent.trim();
      return text === "–" ? "" : text;
    };
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      return down * (isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y);
    });
    for (const row of rows) row.classList.remove("part");
    body.append(...rows);
  });
}

// Values at the pointer.
const tip = document.getElementById("tip");
for (const point of document.querySelectorAll(".over-points a")) {
  const title = point.querySelector("title");
  const text = title.textContent;
  title.remove();
  const show = (event) => {
    tip.textContent = text;
    tip.style.opacity = 1;
    const width = tip.offsetWidth;
    const left = Math.min(Math.max(event.clientX - width / 2, 8), innerWidth - width - 8);
    const above = event.clientY - tip.offsetHeight - 14;
    tip.style.left = left + "px";
    tip.style.top = (above > 4 ? above : event.clientY + 18) + "px";
  };
  point.addEventListener("pointerenter", show);
  point.addEventListener("pointermove", show);
  point.addEventListener("pointerleave", () => (tip.style.opacity = 0));
}

// A link to a run opens the table that holds it.
const reveal = () => {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  if (target) target.scrollIntoView({ block: "center" });
};
addEventListener("hashchange", reveal);
reveal();

// Nothing stays folded on paper.
addEventListener("beforeprint", () => document.querySelectorAll("details:not(.many)").forEach((d) => (d.open = true)));
