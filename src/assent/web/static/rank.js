// The ranking page's keys, drag and drop, and the tray that shows the order so far.
// The radio buttons hold the answer: without this script the page still works.
const form = document.getElementById("ranking");
const cards = [...form.querySelectorAll(".answer")];
const tray = document.getElementById("tray");
const send = document.getElementById("send");
const note = document.getElementById("note");
const dialog = document.getElementById("instructions");
const status = document.getElementById("status");
const problem = document.getElementById("problem");
let current = cards[0];

const radios = (card) => [...card.querySelectorAll("input[type=radio]")];
const rankOf = (card) => radios(card).find((radio) => radio.checked)?.value ?? "";
const cardOf = (letter) => cards.find((card) => card.dataset.letter === letter);

function setRank(card, rank) {
  for (const radio of radios(card)) radio.checked = radio.value === rank;
  refresh();
}

function refresh() {
  for (const lane of tray.querySelectorAll(".lane")) {
    const here = cards.filter((card) => rankOf(card) === lane.dataset.rank);
    lane.querySelector(".chips").replaceChildren(...here.map(chip));
  }
  for (const card of cards) {
    card.dataset.rank = rankOf(card);
    card.classList.toggle("current", card === current);
  }
  const open = cards.filter((card) => !rankOf(card)).length;
  send.disabled = open > 0;
  const text = open ? `${cards.length - open} of ${cards.length} ranked` : "All ranked: press Enter to send";
  if (status.textContent !== text) status.textContent = text;
}

function chip(card) {
  const made = document.createElement("span");
  made.className = "letter";
  made.dataset.letter = card.dataset.letter;
  made.textContent = card.dataset.letter;
  return made;
}

function choose(card) {
  current = card;
  card.focus({ preventScroll: true });
  card.scrollIntoView({ block: "nearest" });
  refresh();
}

// Keys

function rankByKey(rank) {
  const wasOpen = !rankOf(current);
  setRank(current, rank);
  // Going on by itself lets four keys rank four answers; correcting one stays there.
  const next = cards.slice(cards.indexOf(current)).concat(cards).find((card) => !rankOf(card));
  choose(wasOpen && next ? next : current);
}

function step(by) {
  const index = cards.indexOf(current) + by;
  if (cards[index]) choose(cards[index]);
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const inText = event.target.matches("textarea, input:not([type=radio])");
  if (event.key === "Escape" && inText) return choose(current);
  if (inText) return;
  if (event.key === "?") {
    event.preventDefault();
    return dialog.open ? dialog.close() : dialog.showModal();
  }
  if (dialog.open) return;
  const inRadio = event.target.matches("input[type=radio]");
  const inControl = event.target.matches("button, a, summary");
  const key = event.key.length === 1 ? event.key.toUpperCase() : event.key;
  if (/^[1-9]$/.test(key) && Number(key) <= cards.length) rankByKey(key);
  else if (key === "F") rankByKey("F");
  else if (key === "0" || key === "Backspace" || key === "Delete") setRank(current, "");
  else if (key === "N") note.focus();
  else if (cardOf(key)) choose(cardOf(key));
  else if (!inRadio && (key === "ArrowDown" || key === "ArrowRight")) step(1);
  else if (!inRadio && (key === "ArrowUp" || key === "ArrowLeft")) step(-1);
  else if (key === "Enter" && !inControl) submit();
  else return;
  event.preventDefault();
}

function submit() {
  const open = cards.filter((card) => !rankOf(card)).map((card) => card.dataset.letter);
  if (!open.length) return form.requestSubmit(send);
  problem.textContent = `No rank yet: ${open.join(", ")}`;
  choose(cardOf(open[0]));
}

// Drag and drop: pointer events, so that a finger works like a mouse

let drag = null;

function onPointerDown(event) {
  const handle = event.target.closest(".letter");
  if (!handle || event.button !== 0) return;
  event.preventDefault();
  const card = handle.closest(".answer") ?? cardOf(handle.dataset.letter);
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
  drag.ghost.style.left = `${event.clientX}px`;
  drag.ghost.style.top = `${event.clientY}px`;
  const over = laneAt(event);
  for (const lane of tray.querySelectorAll(".lane")) lane.classList.toggle("over", lane === over);
}

function onPointerUp(event) {
  if (!drag) return;
  const { card, ghost } = drag;
  const lane = event.type === "pointerup" && ghost ? laneAt(event) : null;
  endDrag();
  current = card;
  if (lane) setRank(card, lane.dataset.rank);
  else if (!ghost) choose(card);
}

function laneAt(event) {
  return document.elementFromPoint(event.clientX, event.clientY)?.closest(".lane") ?? null;
}

function endDrag() {
  drag?.ghost?.remove();
  drag = null;
  document.body.classList.remove("dragging");
  for (const lane of tray.querySelectorAll(".lane")) lane.classList.remove("over");
}

document.addEventListener("keydown", onKey);
document.addEventListener("pointerdown", onPointerDown);
document.addEventListener("pointermove", onPointerMove);
document.addEventListener("pointerup", onPointerUp);
document.addEventListener("pointercancel", onPointerUp);
form.addEventListener("change", (event) => {
  current = event.target.closest(".answer") ?? current;
  problem.textContent = "";
  refresh();
});
form.addEventListener("focusin", (event) => {
  const card = event.target.closest(".answer");
  if (card && card !== current) {
    current = card;
    refresh();
  }
});
// One click, one answer: the button stays off from the moment the form goes out.
form.addEventListener("submit", () => setTimeout(() => { send.disabled = true; }));
window.addEventListener("pageshow", refresh);
document.getElementById("help").addEventListener("click", (event) => {
  event.preventDefault();
  dialog.showModal();
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close();
});
tray.hidden = false;
refresh();
