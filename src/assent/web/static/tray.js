// The tray of a ranking: lanes that show the order so far, and drag and drop into them.
// Pointer events, so that a finger works like a mouse.
const tray = document.getElementById("tray");
let cards = [];
let rankOf, setRank, choose;
let drag = null;

export function startTray(given) {
  ({ cards, rankOf, setRank, choose } = given);
  tray.hidden = false;
  document.addEventListener("pointerdown", onPointerDown);
  document.addEventListener("pointermove", onPointerMove);
  document.addEventListener("pointerup", onPointerUp);
  document.addEventListener("pointercancel", onPointerUp);
}

export function drawTray() {
  for (const lane of tray.querySelectorAll(".lane")) {
    const here = cards.filter((card) => rankOf(card) === lane.dataset.rank);
    lane.querySelector(".chips").replaceChildren(...here.map(chip));
  }
}

function chip(card) {
  const made = document.createElement("span");
  made.className = "letter";
  made.dataset.letter = card.dataset.letter;
  made.textContent = card.dataset.letter;
  return made;
}

function onPointerDown(event) {
  const handle = event.target.closest(".letter");
  if (!handle || event.button !== 0) return;
  event.preventDefault();
  const card = handle.closest(".answer") ?? cards.find((one) => one.dataset.letter === handle.dataset.letter);
  drag = { card, ghost: null, x: event.clientX, y: event.clientY };
}

function onPointerMove(event) {
  if (!drag) return;
  if (!drag.ghost) {
    if (Math.hypot(event.clientX - drag.x, event.clientY - drag.y) < 5) return;
    drag.ghost = chip(drag.card);
    drag.ghost.classList.add("ghost");
    document.body.append(drag.ghost);
    document.body.classList.add("dragging");
  }
  // Through the object model: the policy of the page allows no style in its text.
  drag.ghost.style.left = `${event.clientX}px`;
  drag.ghost.style.top = `${event.clientY}px`;
  const over = laneAt(event);
  for (const lane of tray.querySelectorAll(".lane")) lane.classList.toggle("over", lane === over);
}

function onPointerUp(event) {
  if (!drag) return;
  const { card, ghost } = drag;
  const lane = event.type === "pointerup" && ghost ? laneAt(event) : null;
  ghost?.remove();
  drag = null;
  document.body.classList.remove("dragging");
  for (const one of tray.querySelectorAll(".lane")) one.classList.remove("over");
  if (lane) setRank(card, lane.dataset.rank);
  if (lane || !ghost) choose(card);
}

function laneAt(event) {
  return document.elementFromPoint(event.clientX, event.clientY)?.closest(".lane") ?? null;
}
