// What was asked for takes a moment to make: look again until it is there.
const wait = document.querySelector("[data-again]")?.dataset.again ?? 700; // milliseconds

setTimeout(() => location.reload(), Number(wait));
