// Puts what the server has drawn in the place of what is shown; says when nothing comes any more.

const flow = document.getElementById("flow");
const notLive = document.getElementById("not-live");
const pause = document.getElementById("pause");
const SILENT_MS = 5000;

let heard = Date.now();
let paused = false;
let pressed = false;
let source = null;

// Changes only what differs, so that focus, open details and what is being read stay.
function become(node, wanted) {
  if (node.isEqualNode(wanted)) return;
  if (node.nodeName !== wanted.nodeName || node.id !== wanted.id) {
    node.replaceWith(wanted);
  } else if (node.nodeType !== Node.ELEMENT_NODE) {
    node.data = wanted.data;
  } else {
    takeAttributes(node, wanted);
    takeChildren(node, [...wanted.childNodes]);
  }
}

function takeAttributes(node, wanted) {
  for (const { name } of [...node.attributes]) {
    if (name !== "open" && !wanted.hasAttribute(name)) node.removeAttribute(name);
  }
  for (const { name, value } of [...wanted.attributes]) {
    if (node.getAttribute(name) !== value) node.setAttribute(name, value);
  }
}

function takeChildren(node, wanted) {
  const before = [...node.childNodes];
  before.slice(wanted.length).forEach((child) => child.remove());
  wanted.forEach((child, place) => (before[place] ? become(before[place], child) : node.append(child)));
}

function draw(html) {
  const drawn = document.createElement("template");
  drawn.innerHTML = html;
  takeChildren(flow, [...drawn.content.childNodes]);
}

function listen() {
  if (source) source.close();
  source = new EventSource(flow.dataset.live);
  source.onmessage = ({ data }) => {
    heard = Date.now();
    if (!paused && !pressed) draw(data);
    judge();
  };
}

function judge() {
  const silent = Date.now() - heard > SILENT_MS;
  if (silent && notLive.hidden) {
    notLive.querySelector("strong").textContent = new Date(heard).toLocaleTimeString();
  }
  notLive.hidden = !silent;
  flow.classList.toggle("old", silent);
  // A browser does not ask again after it was refused.
  if (silent && source.readyState === EventSource.CLOSED) listen();
}

pause.hidden = false;
pause.addEventListener("click", () => {
  paused = !paused;
  pause.textContent = paused ? `Paused at ${new Date().toLocaleTimeString()}: go on` : "Pause";
});

// A link that is replaced, or moves, between press and release is not followed.
flow.addEventListener("pointerdown", () => (pressed = true));
for (const end of ["pointerup", "pointercancel"]) {
  window.addEventListener(end, () => (pressed = false));
}

listen();
setInterval(judge, 1000);
