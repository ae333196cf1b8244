// Drafts and sending: what is filled in stays in this browser until the server says that it is kept.
// An answer carries a key made by the server, so one that is sent twice is kept once.
const DRAFT = "assent-draft ";
const OUTBOX = "assent-outbox ";
const root = new URL(document.querySelector(".brand").href).pathname;
const csrf = () => document.body.dataset.csrf;

// A browser may refuse storage; then only what is on the page is kept.
function read(name) {
  try { return JSON.parse(localStorage.getItem(name)); } catch { return null; }
}
function write(name, value) {
  try {
    if (value === null) localStorage.removeItem(name);
    else localStorage.setItem(name, JSON.stringify(value));
  } catch { /* full or forbidden */ }
}
function names(prefix) {
  try { return Object.keys(localStorage).filter((name) => name.startsWith(prefix + root)); } catch { return []; }
}

export function saveDraft(form) {
  const fields = [...new FormData(form)].filter(([name]) => name !== "csrf");
  write(DRAFT + new URL(form.action).pathname, fields);
}

export function loadDraft(form) {
  const fields = read(DRAFT + new URL(form.action).pathname);
  if (!fields) return false;
  for (const [name, value] of fields) {
    for (const field of form.querySelectorAll(`[name="${CSS.escape(name)}"]`)) {
      if (field.type === "radio" || field.type === "checkbox") field.checked = field.value === value || field.checked && field.type === "checkbox";
      else if (name !== "supersedes") field.value = value;
    }
  }
  return true;
}

export function dropDraft(form) {
  write(DRAFT + new URL(form.action).pathname, null);
}

// One answer on its way: tried again, less and less often, until the server has it or refuses it.
export async function send(form, submitter, say) {
  const fields = [...new FormData(form)].filter(([name]) => name !== "csrf");
  if (submitter?.name) fields.push([submitter.name, submitter.value]);
  const path = new URL(form.action).pathname;
  write(OUTBOX + path, fields);
  for (let wait = 1; ; wait = Math.min(wait * 2, 30)) {
    const answer = await post(path, fields);
    if (answer.kept) {
      write(OUTBOX + path, null);
      dropDraft(form);
      location.assign(answer.next);
      return;
    }
    if (answer.refused) {
      write(OUTBOX + path, null);
      say(answer.problem, true);
      return;
    }
    say(`No connection. Your answer is safe in this browser; trying again in ${wait} s.`, false);
    await Promise.race([
      new Promise((go) => setTimeout(go, wait * 1000)),
      new Promise((go) => addEventListener("online", go, { once: true })),
    ]);
  }
}

async function post(path, fields) {
  try {
    const headers = { Accept: "application/json", "X-CSRF-Token": csrf() };
    const reply = await fetch(path, { method: "POST", headers, body: new URLSearchParams(fields) });
    if (reply.ok && reply.headers.get("content-type")?.startsWith("application/json")) return { kept: true, ...(await reply.json()) };
    if (reply.status >= 500 || reply.status === 429) return {};
    const type = reply.headers.get("content-type") ?? "";
    const problem = type.startsWith("application/json") ? (await reply.json()).problem : "";
    return { refused: true, problem: problem || "The answer was not taken. Reload the page: what you filled in is kept." };
  } catch {
    return {};
  }
}

// Left over from a page that was closed before its answer went out.  The question's own page sends by itself.
async function flush() {
  for (const name of names(OUTBOX)) {
    const path = name.slice(OUTBOX.length);
    if (path === location.pathname && document.getElementById("answer")) continue;
    const answer = await post(path, read(name) ?? []);
    if (answer.kept || answer.refused) write(name, null);
    if (answer.kept) write(DRAFT + path, null);
  }
}

if (document.querySelector(".sign-out")) flush();
// Another person may sign in on this browser next.
document.querySelector(".sign-out")?.addEventListener("submit", () => {
  for (const name of [...names(DRAFT), ...names(OUTBOX)]) write(name, null);
});
