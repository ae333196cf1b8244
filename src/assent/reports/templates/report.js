"use strict";
(() => {
  document.documentElement.classList.add("js");
  const list = document.getElementById("samples-list");
  if (list) {
    const all = [...list.children].map((node, order) => ({
      node,
      order,
      gain: node.dataset.gain === "" ? NaN : Number(node.dataset.gain),
      exploited: "exploited" in node.dataset,
      text: node.textContent.toLowerCase().replace(/\s+/g, " "),
    }));
    const find = document.getElementById("find");
    const sort = document.getElementById("sort");
    const which = document.getElementById("which");
    const colours = document.getElementById("colours");
    const shown = document.getElementById("shown");
    const more = document.getElementById("more");
    const page = 6;
    let limit = page;
    const orders = {
      best: (a, b) => b.gain - a.gain,
      worst: (a, b) => a.gain - b.gain,
      given: (a, b) => a.order - b.order,
    };
    const kinds = {
      all: () => true,
      gained: (a) => a.gain > 0,
      lost: (a) => a.gain < 0,
      exploited: (a) => a.exploited,
    };
    const update = () => {
      const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
      const known = (a) => Number(Number.isNaN(a.gain)); // samples without a gain come last
      const sorted = [...all].sort((a, b) => known(a) - known(b) || orders[sort.value](a, b) || a.order - b.order);
      let found = 0;
      for (const sample of sorted) {
        const fits = kinds[which.value](sample) && words.every((word) => sample.text.includes(word));
        sample.node.hidden = !fits || found >= limit;
        found += fits;
        list.append(sample.node);
      }
      const visible = Math.min(found, limit);
      shown.textContent = found === 0 ? "nothing found" : `${visible} of ${found}`;
      more.hidden = found <= limit;
    };
    find.addEventListener("input", () => { limit = page; update(); });
    sort.addEventListener("change", update);
    which.addEventListener("change", () => { limit = page; update(); });
    for (const box of document.querySelectorAll(".shown-policies input")) {
      box.addEventListener("change", () => {
        for (const answer of list.querySelectorAll(".answer")) {
          if (answer.dataset.policy === box.dataset.policy) answer.hidden = !box.checked;
        }
      });
    }
    more.addEventListener("click", () => { limit += 2 * page; update(); });
    if (colours) colours.addEventListener("change", () => list.classList.toggle("plain", !colours.checked));
    update();
  }
  const open = () => {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    if (target && target.tagName === "DETAILS") target.open = true;
  };
  addEventListener("hashchange", open);
  open();
  // On paper nothing can be unfolded.
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const each of closed) each.open = true;
  });
  addEventListener("afterprint", () => { for (const each of closed) each.open = false; });
})();
