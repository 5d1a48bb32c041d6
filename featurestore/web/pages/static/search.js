// Results as you type: the same page is asked for, and its results take the place of these. Without this, a button sends.
const form = document.querySelector("form.live");
const box = form.elements.text;
let timer, running;

async function update() {
  running?.abort();
  running = new AbortController();
  const fields = [...new FormData(form)].filter(([, value]) => value.trim());
  if (!box.value.trim() || box.value.includes("\n")) return;
  const url = `/?${new URLSearchParams(fields)}`;
  const results = document.getElementById("results");
  results.setAttribute("aria-busy", "true");
  results.classList.add("busy");
  try {
    const answer = await fetch(url, { signal: running.signal, headers: { Accept: "text/html" } });
    // An id leads to another page, which is opened when Enter is pressed.
    if (answer.redirected) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById("results");
    if (!fresh) return;
    results.replaceChildren(...fresh.childNodes);
    document.title = page.title;
    history.replaceState(null, "", url);
  } catch (error) {
    if (error.name === "AbortError") return;
    const note = Object.assign(document.createElement("p"), { className: "error", textContent: "The service does not answer: is it still running?" });
    note.setAttribute("role", "alert");
    results.replaceChildren(note);
  } finally {
    results.removeAttribute("aria-busy");
    results.classList.remove("busy");
  }
}

function fit() {
  box.style.height = "auto";
  box.style.height = `${Math.min(box.scrollHeight + 2, 240)}px`;
}

box.addEventListener("input", () => {
  fit();
  clearTimeout(timer);
  timer = setTimeout(update, 250);
});
box.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  clearTimeout(timer);
  running?.abort();
  form.requestSubmit();
});
for (const control of form.querySelectorAll("select, input[type=checkbox]")) control.addEventListener("change", update);
if (box.value) fit();
