"use strict";

// Search as you type, where there are results to be replaced. Without this, the form does it.
const field = document.getElementById("q");
const results = document.getElementById("results");
const PAUSE_MS = 150;
let timer = 0;
let latest = 0;

async function search() {
  const mine = ++latest;
  const query = new URLSearchParams({ q: field.value });
  const answer = await fetch(`/search?${query}&part=1`);
  const found = await answer.text();
  // An answer that comes after that to a later question is out of date.
  if (answer.ok && mine === latest) {
    results.innerHTML = found;
    history.replaceState(null, "", `/search?${query}`);
  }
}

if (field && results) {
  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(search, PAUSE_MS);
  });
}
