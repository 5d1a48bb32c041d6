// Small comforts; every page works without them.
document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input:not([type=checkbox]), textarea, select");
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.form) {
    event.target.form.requestSubmit();
    return;
  }
  if (typing || event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.key === "/") {
    event.preventDefault();
    document.querySelector("[role=search] [name=text]")?.focus();
  } else if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
    document.querySelector(`[rel=${event.key === "ArrowLeft" ? "prev" : "next"}]`)?.click();
  }
});

// What scrolls sideways can be scrolled by keyboard.
function makeReachable() {
  for (const area of document.querySelectorAll(".scroll:not([role])")) {
    if (area.scrollWidth > area.clientWidth) area.tabIndex = 0;
    else area.removeAttribute("tabindex");
  }
}
addEventListener("load", makeReachable);
addEventListener("resize", makeReachable);

// Long bands of examples show their first eight; a button shows the rest.
for (const list of document.querySelectorAll(".examples")) {
  const rest = list.querySelectorAll(".more");
  if (!rest.length) continue;
  list.classList.add("folded");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "unfold";
  button.textContent = `${rest.length} more`;
  button.addEventListener("click", () => {
    list.classList.remove("folded");
    button.remove();
  });
  list.after(button);
}
