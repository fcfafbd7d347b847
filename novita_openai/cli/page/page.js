"use strict";
const search = document.querySelector("#search");
if (search) {
  const rows = [...document.querySelectorAll("#rows tr")].map((row) => [row, row.textContent.toLowerCase()]);
  const count = document.querySelector("#count");
  const all = count.textContent;
  const apply = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let found = 0;
    for (const [row, text] of rows) {
      row.hidden = !words.every((word) => text.includes(word));
      found += !row.hidden;
    }
    const of = `${rows.length.toLocaleString("en")} ${rows.length === 1 ? "row" : "rows"}`;
    count.textContent = words.length ? `${found.toLocaleString("en")} of ${of}` : all;
  };
  search.addEventListener("input", apply);
  search.parentElement.hidden = false;
  apply();
}
