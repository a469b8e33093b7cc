"use strict";
(() => {
  const content = JSON.parse(document.getElementById("content").textContent);
  const views = new Map();
  const charts = new Map(content.charts.map((chart) => [chart.name, chart]));
  const table = document.getElementById("table");
  const body = table ? table.tBodies[0] : null;
  let rows = body ? [...body.rows] : [];
  const AT_ONCE = 100;
  let pending = 0;
  let placing = 0;

  // What a row shows, and in which order, the charts that belong to cells show too.
  const shown = () => rows.filter((row) => !row.hidden).map((row) => Number(row.dataset.number));

  const rowsOf = (chart) => {
    const own = chart.data[chart.follows];
    if (!body) return own;
    const byCell = new Map();
    for (const one of own) byCell.set(one.cell, [...(byCell.get(one.cell) || []), one]);
    const cells = shown().filter((cell) => byCell.has(cell)).slice(0, chart.most);
    const kept = cells.flatMap((cell, rank) => byCell.get(cell).map((one) => ({ ...one, rank })));
    const longest = Math.max(0, ...kept.map((one) => one.end_ms));
    return kept.map((one) => ({ ...one, wide_ms: longest ? (100 * (one.end_ms - one.start_ms)) / longest : 0 }));
  };

  const draw = async (chart, words) => {
    const target = document.querySelector(`#chart-${chart.name} .view`);
    const data = chart.follows ? { ...chart.data, [chart.follows]: rowsOf(chart) } : chart.data;
    const options = { actions: false, renderer: "svg", tooltip: { disableDefaultStyle: true } };
    const spec = structuredClone(chart.specs[words]);
    for (const one of spec.data) if (one.name in data) one.values = data[one.name];
    const embedded = await vegaEmbed(target, spec, options);
    const svg = target.querySelector("svg");
    if (svg) svg.setAttribute("aria-hidden", "true"); // its container has the text, which Vega has just removed
    target.setAttribute("role", "img");
    target.setAttribute("aria-label", chart.alt_text);
    views.get(chart.name)?.finalize();
    views.set(chart.name, embedded.view);
  };

  const follow = () => {
    clearTimeout(pending);
    pending = setTimeout(() => {
      for (const chart of charts.values()) {
        if (chart.follows) views.get(chart.name)?.data(chart.follows, rowsOf(chart)).runAsync();
      }
    }, 150);
  };

  const words = new Intl.Collator("en", { numeric: true });

  // Numbers as numbers, words as words; what is missing last either way.
  const ordered = (column, direction) => {
    const keyed = rows.map((row) => ({ row, key: row.cells[column].dataset.order }));
    const numeric = keyed.every((one) => !Number.isNaN(Number(one.key)));
    const compare = numeric ? (a, b) => a.key - b.key : (a, b) => words.compare(a.key, b.key);
    const known = keyed.filter((one) => one.key !== "").sort((a, b) => direction * compare(a, b));
    return [...known, ...keyed.filter((one) => one.key === "")].map((one) => one.row);
  };

  const sort = (column) => {
    const heads = [...table.tHead.rows[0].cells];
    const ascending = heads[column].getAttribute("aria-sort") !== "ascending";
    heads.forEach((head) => head.setAttribute("aria-sort", "none"));
    heads[column].setAttribute("aria-sort", ascending ? "ascending" : "descending");
    rows = ordered(column, ascending ? 1 : -1);
    place();
    follow();
  };

  // What is in sight at once, the rest when that is painted: thousands of fields take a browser a while.
  const place = () => {
    clearTimeout(placing);
    const first = rows.filter((row) => !row.hidden).slice(0, AT_ONCE);
    body.replaceChildren(...first);
    if (first.length < rows.length) placing = setTimeout(() => body.replaceChildren(...rows), 30);
  };

  const filter = () => {
    const words = document.getElementById("find").value.toLowerCase().split(/\s+/).filter(Boolean);
    const fields = [...document.querySelectorAll("#filters select")].filter((one) => one.value);
    let count = 0;
    for (const row of rows) {
      const text = `${row.cells[0].textContent} ${row.dataset.folder} ${row.dataset.family}`.toLowerCase();
      row.hidden = !(words.every((word) => text.includes(word)) && fields.every((one) => row.dataset[one.dataset.field] === one.value));
      count += !row.hidden;
    }
    const whole = rows.length === 1 ? "1 row" : `${rows.length} rows`;
    document.getElementById("count").textContent = count === rows.length ? whole : `${count} of ${whole}`;
    document.getElementById("none").hidden = count > 0;
    follow();
  };

  // A spreadsheet would compute what begins like a formula.
  const inert = (text) => (/^[=+\-@\uff1d\uff0b\uff0d\uff20]/.test(text) && !/^[-+]?[\d.,]+$/.test(text) ? `'${text}` : text);
  const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

  const download = () => {
    const lines = [...table.tHead.rows, ...rows].filter((row) => !row.hidden);
    const text = lines.map((row) => [...row.cells].map((cell) => quoted(inert(cell.textContent.trim().replace(/^–$/, "")))).join(",")).join("\n");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([`${text}\n`], { type: "text/csv" }));
    link.download = "vlbench.csv";
    link.click();
    URL.revokeObjectURL(link.href);
  };

  if (table) {
    [...table.tHead.rows[0].cells].forEach((head, column) => head.firstElementChild.addEventListener("click", () => sort(column)));
    const form = document.getElementById("filters");
    form.addEventListener("input", filter);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(filter));
    document.getElementById("download").addEventListener("click", download);
  }
  for (const button of document.querySelectorAll("[data-spec]")) {
    button.addEventListener("click", () => {
      for (const other of button.parentElement.children) other.setAttribute("aria-pressed", String(other === button));
      draw(charts.get(button.dataset.chart), button.dataset.spec);
    });
  }
  (async () => {
    for (const chart of charts.values()) await draw(chart, Object.keys(chart.specs)[0]);
    document.documentElement.dataset.drawn = "yes";
  })();
})();
