"use strict";

// Search as you type, where there are results to be replaced. Without this, the form does it.
const field = document.getElementById("q");
const results = document.getElementById("results");
const recent = document.getElementById("recent");
const found = document.getElementById("found");
const PAUSE_MS = 150;
let timer = 0;
let latest = 0;

async function search() {
  const mine = ++latest;
  const query = new URLSearchParams({ q: field.value });
  try {
    const answer = await fetch(`/search?${query}&part=1`);
    const part = await answer.text();
    // An answer that comes after that to a later question is out of date.
    if (answer.ok && mine === latest) show(part, query);
  } catch {
    // The network is away: what was found stays, and the form says what is wrong.
  }
}

function show(part, query) {
  const asked = field.value.trim() !== "";
  results.innerHTML = asked || !recent ? part : "";
  if (recent) recent.hidden = asked;
  found.textContent = results.querySelector(".count")?.textContent ?? "";
  history.replaceState(null, "", asked || !recent ? `/search?${query}` : "/");
}

if (field && results) {
  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(search, PAUSE_MS);
  });
}

// A slash leads to the search, unless it is typed somewhere.
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select, [contenteditable]");
  if (field && event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    field.focus();
    field.select();
  }
});
