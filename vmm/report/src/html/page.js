"use strict";
// The filter: words that a scenario's text must have, and whether those that passed are shown.
const text = document.getElementById("filter");
const bad = document.getElementById("only-bad");
const count = document.getElementById("count");
const all = [...document.querySelectorAll("details.scenario")];
function filter() {
  const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const one of all) {
    const has = one.textContent.toLowerCase();
    one.hidden = !words.every((word) => has.includes(word)) || (bad.checked && one.dataset.word === "pass");
    shown += one.hidden ? 0 : 1;
  }
  count.textContent = `${shown} of ${all.length} shown`;
}
text.addEventListener("input", filter);
bad.addEventListener("change", filter);
filter();
