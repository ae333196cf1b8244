// The keys of a question's page.  The form's own fields hold the answer: without this script the page still works.
import { dropDraft, loadDraft, saveDraft, send } from "./sending.js";
import { drawTray, startTray } from "./tray.js";

const form = document.getElementById("answer");
const task = form.dataset.task;
const cards = [...form.querySelectorAll(".answer")];
const sendButton = document.getElementById("send");
const note = document.getElementById("note");
const text = document.getElementById("text");
const dialog = document.getElementById("instructions");
const status = document.getElementById("status");
const problem = document.getElementById("problem");
const skipping = document.getElementById("skipping");
let current = cards[0];
let sending = false;

const cardOf = (letter) => cards.find((card) => card.dataset.letter === letter);
const checked = (within, name) => within.querySelector(`input[name="${name}"]:checked`)?.value ?? "";
const failedBox = (card) => card.querySelector("input[name^=failed-]");
const letterOf = (card) => card.dataset.letter;
const rankOf = (card) => checked(card, `rank-${letterOf(card)}`);
const labelOf = (card) => checked(card, `label-${letterOf(card)}`);
const criteriaOf = (card) => [...card.querySelectorAll(".criterion")];
const openCriteria = (card) => criteriaOf(card).filter((one) => !one.querySelector("input:checked"));
const isRated = (card) => failedBox(card).checked || openCriteria(card).length === 0;

function check(within, name, value) {
  for (const radio of within.querySelectorAll(`input[name="${name}"]`)) radio.checked = radio.value === value;
  changed();
}
const setRank = (card, rank) => check(card, `rank-${letterOf(card)}`, rank);

// What each task needs: done() per answer or for all, and its keys.  A key that it does not know returns false.
const TASKS = {
  ranking: {
    done: (card) => Boolean(rankOf(card)), word: "ranked",
    key(key) {
      if (/^[1-9]$/.test(key) && Number(key) <= cards.length || key === "F") return goOn(() => setRank(current, key));
      if (key === "0" || key === "Backspace" || key === "Delete") return setRank(current, ""), true;
      return false;
    },
  },
  label: {
    done: (card) => Boolean(labelOf(card)), word: "labelled",
    key(key) {
      const count = current.querySelectorAll(".labels input").length - 1;
      const name = `label-${letterOf(current)}`;
      if (/^[1-9]$/.test(key) && Number(key) <= count) return goOn(() => check(current, name, String(key - 1)));
      if (key === "F") return goOn(() => check(current, name, "F"));
      if (key === "0" || key === "Backspace" || key === "Delete") return check(current, name, ""), true;
      return false;
    },
  },
  rating: {
    done: isRated, word: "rated",
    key(key) {
      if (key === "F") return toggleFailed();
      if (key === "Backspace" || key === "Delete") {
        for (const radio of current.querySelectorAll(".criterion input")) radio.checked = false;
        return changed(), true;
      }
      const criterion = openCriteria(current)[0];
      const radio = criterion && [...criterion.querySelectorAll("input")].find((one) => one.value === key);
      return radio ? goOn(() => { radio.checked = true; changed(); }) : false;
    },
  },
  pairwise: {
    whole: () => Boolean(checked(form, "strength")) || cards.some((card) => failedBox(card).checked),
    ask: "Say which is better: keys 1 to 7",
    key(key) {
      if (key === "F") return toggleFailed();
      if (/^[1-7]$/.test(key)) return check(form, "strength", String(Number(key) - 4)), true;
      return false;
    },
  },
  best: {
    whole: () => Boolean(checked(form, "best")), ask: "Choose the best answer",
    key(key) {
      if (key === "F") return toggleFailed();
      if (key === "0") return check(form, "best", "none"), true;
      const card = /^[1-9]$/.test(key) ? cards[Number(key) - 1] : cardOf(key);
      if (!card) return false;
      choose(card);
      return check(form, "best", letterOf(card)), true;
    },
  },
  rewrite: { whole: () => Boolean(text.value.trim()) && text.value !== text.defaultValue, ask: "Change the text", key: () => false },
  demonstration: { whole: () => Boolean(text.value.trim()), ask: "Write the answer", key: () => false },
};
const now = TASKS[task];

function goOn(act) {
  // Going on by itself lets four keys rank four answers; correcting one stays there.
  const wasOpen = !now.done(current);
  act();
  const next = cards.slice(cards.indexOf(current)).concat(cards).find((card) => !now.done(card));
  choose(wasOpen && now.done(current) && next ? next : current);
  return true;
}

function toggleFailed() {
  const box = failedBox(current);
  box.checked = !box.checked;
  changed();
  return true;
}

function open() {
  return now.done ? cards.filter((card) => !now.done(card)) : [];
}

function isWhole() {
  return now.done ? open().length === 0 : now.whole();
}

function refresh() {
  if (task === "ranking") drawTray();
  for (const card of cards) {
    card.dataset.rank = rankOf(card);
    card.classList.toggle("bad", Boolean(failedBox(card)?.checked) || rankOf(card) === "F" || labelOf(card) === "F");
    card.classList.toggle("chosen", checked(form, "best") === letterOf(card));
    card.classList.toggle("current", card === current);
  }
  if (text) document.getElementById("length").textContent = `${text.value.trim().split(/\s+/).filter(Boolean).length} words.`;
  const whole = isWhole();
  sendButton.disabled = !whole || sending;
  const enter = text ? "Ctrl Enter" : "Enter";
  const left = now.done ? `${cards.length - open().length} of ${cards.length} ${now.word}` : now.ask;
  const words = whole ? `Ready: press ${enter} to send` : left;
  if (!sending && status.textContent !== words) status.textContent = words;
}

function changed() {
  problem.textContent = "";
  saveDraft(form);
  refresh();
}

function choose(card) {
  current = card;
  card.focus({ preventScroll: true });
  card.scrollIntoView({ block: "nearest" });
  refresh();
}

function step(by) {
  const next = cards[cards.indexOf(current) + by];
  if (next) choose(next);
}

function submit() {
  if (isWhole()) return form.requestSubmit(sendButton);
  const missing = open().map(letterOf);
  problem.textContent = missing.length ? `Not ${now.word} yet: ${missing.join(", ")}` : `${now.ask}.`;
  if (missing.length) choose(cardOf(missing[0]));
}

function onKey(event) {
  const inText = event.target.matches("textarea, select, input:not([type=radio], [type=checkbox])");
  if ((event.ctrlKey || event.metaKey) && event.key === "Enter" && text) return event.preventDefault(), submit();
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.key === "Escape" && inText) return current ? choose(current) : event.target.blur();
  if (inText) return;
  if (event.key === "?") {
    event.preventDefault();
    return dialog.open ? dialog.close() : dialog.showModal();
  }
  if (dialog.open) return;
  const onRadio = event.target.matches("input[type=radio]");
  const inControl = event.target.matches("button, a, summary, [type=checkbox]");
  const key = event.key.length === 1 ? event.key.toUpperCase() : event.key;
  if (key === "N") note.focus();
  else if (key === "S") { skipping.open = true; document.getElementById("reason").focus(); }
  else if (key === "U") document.getElementById("undo")?.click();
  else if (!onRadio && (key === "ArrowDown" || key === "ArrowRight") && current) step(1);
  else if (!onRadio && (key === "ArrowUp" || key === "ArrowLeft") && current) step(-1);
  else if (key === "Enter" && !inControl) submit();
  else if (current && now.key(key)) { /* done */ }
  else if (cardOf(key)) choose(cardOf(key));
  else return;
  event.preventDefault();
}

async function onSubmit(event) {
  event.preventDefault();
  if (sending) return;
  sending = true;
  refresh();
  document.body.classList.add("sending");
  await send(form, event.submitter, (words, refused) => {
    (refused ? problem : status).textContent = words;
    if (refused) sending = false;
  });
  document.body.classList.remove("sending");
  refresh();
}

document.addEventListener("keydown", onKey);
form.addEventListener("input", changed);
form.addEventListener("change", (event) => {
  current = event.target.closest(".answer") ?? current;
  if (event.target.name === "position") text.value = document.getElementById(`answer-text-${event.target.value}`).innerText;
  changed();
});
form.addEventListener("focusin", (event) => {
  const card = event.target.closest(".answer");
  if (card && card !== current) {
    current = card;
    refresh();
  }
});
form.addEventListener("submit", onSubmit);
// Back from the next page: the browser may show this one as it was left.
window.addEventListener("pageshow", () => { sending = false; refresh(); });
document.getElementById("undo-form")?.addEventListener("submit", () => dropDraft(form));
document.getElementById("help").addEventListener("click", (event) => {
  event.preventDefault();
  dialog.showModal();
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close();
});
if (task === "ranking") startTray({ cards, rankOf, setRank, choose });
if (form.dataset.fresh === "1" && loadDraft(form)) status.dataset.restored = "1";
refresh();
