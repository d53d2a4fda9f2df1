"use strict";
(() => {
  const MINUS = /[−–]/g;

  // The number at the start of a cell, such as 0.8184 of "0.8184 ± 0.0044" or 1234 of "1,234 queries"; NaN without one.
  function number(text) {
    const start = text.trim().replace(MINUS, "-").replace(/,(?=\d{3})/g, "").replace(/^[<×]\s*/, "");
    return /^[+-]?(\d|\.\d)/.test(start) ? parseFloat(start) : NaN;
  }

  // Numbers in order, then texts; empty cells and dashes come last in both directions.
  function compare(first, second, sign) {
    const empty = (text) => text === "" || text === "–";
    if (empty(first) || empty(second)) return empty(first) - empty(second);
    const numbers = [number(first), number(second)];
    if (numbers.every((value) => !Number.isNaN(value)) && numbers[0] !== numbers[1]) return sign * (numbers[0] - numbers[1]);
    const isText = numbers.map((value) => Number(Number.isNaN(value)));
    return isText[0] - isText[1] || sign * first.localeCompare(second, "en", { numeric: true });
  }

  function sort(table, column, header) {
    const sign = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of header.parentElement.children) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
    const rows = [...table.tBodies[0].rows].map((row) => [row, row.cells[column].textContent.trim()]);
    rows.sort((first, second) => compare(first[1], second[1], sign));
    table.tBodies[0].append(...rows.map(([row]) => row));
  }

  function filter(table, text, counter) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = [...table.tBodies[0].rows];
    for (const row of rows) {
      const content = [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase();
      row.hidden = !words.every((word) => content.includes(word));
    }
    const shown = rows.filter((row) => !row.hidden).length;
    counter.textContent = shown === rows.length ? `${rows.length} rows` : `${shown} of ${rows.length} rows`;
  }

  for (const box of document.querySelectorAll(".sortable")) {
    const table = box.querySelector("table");
    [...table.tHead.rows[0].cells].forEach((header, column) =>
      header.querySelector("button").addEventListener("click", () => sort(table, column, header)));
    const input = box.querySelector("input");
    input.addEventListener("input", () => filter(table, input.value, box.querySelector("output")));
  }

  // A link to a folded table unfolds it.
  function unfold() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target) target.closest("details")?.setAttribute("open", "");
  }
  window.addEventListener("hashchange", unfold);
  unfold();

  // Printed pages show all tables.
  let folded = [];
  window.addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const part of folded) part.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const part of folded) part.open = false;
  });
})();
