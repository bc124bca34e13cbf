"use strict";
// Filters and sorts the table of runs. Without this script it is a plain table.
(() => {
  const table = document.getElementById("runs-table");
  if (!table) return;
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const form = document.getElementById("filters");
  const [search, status, strategy, found] =
    ["search", "status", "strategy", "found"].map((id) => document.getElementById(id));
  const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));

  const offer = (select, key) => {
    for (const value of Array.from(new Set(rows.map((row) => row.dataset[key]))).sort()) {
      select.append(new Option(value, value));
    }
  };
  offer(status, "status");
  offer(strategy, "strategy");

  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const fits = (!status.value || row.dataset.status === status.value)
        && (!strategy.value || row.dataset.strategy === strategy.value)
        && words.every((word) => texts.get(row).includes(word));
      row.hidden = !fits;
      shown += fits;
    }
    found.textContent = `${shown} of ${rows.length} shown`;
  };
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());

  const compare = new Intl.Collator("en", { numeric: true }).compare;
  const sort = (heading, place) => {
    const up = heading.getAttribute("aria-sort") !== "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", up ? "ascending" : "descending");
    const numeric = "numeric" in heading.dataset;
    const keys = new Map(rows.map((row) => {
      const { dataset, textContent } = row.cells[place];
      if (!numeric) return [row, textContent];
      return [row, "value" in dataset ? Number(dataset.value) : null];
    }));
    // What has no value stands last, whichever way is up.
    rows.sort((a, b) => {
      const [x, y] = [keys.get(a), keys.get(b)];
      if (x === null || y === null) return (x === null) - (y === null);
      return (numeric ? x - y : compare(x, y)) * (up ? 1 : -1);
    });
    body.append(...rows);
  };
  Array.from(table.tHead.rows[0].cells).forEach((heading, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    button.addEventListener("click", () => sort(heading, place));
    heading.replaceChildren(button);
  });
  form.hidden = false;
  filter();

  // On paper nothing can be unfolded.
  const folded = "section > details";
  addEventListener("beforeprint", () => document.querySelectorAll(folded).forEach((one) => { one.open = true; }));
})();
