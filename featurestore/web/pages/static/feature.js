// Buttons that copy; without scripts the lines are there to be selected.
function addButton(line, name, read) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.setAttribute("aria-label", `Copy ${name}`);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(await read());
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(line); // a page without https may not write to the clipboard
      button.textContent = "Press Ctrl+C";
    }
    button.setAttribute("aria-label", `${button.textContent}: ${name}`);
  });
  line.after(button);
}
for (const line of document.querySelectorAll("[data-copy]"))
  addButton(line, line.closest("dd").previousElementSibling.textContent, async () => line.textContent);
for (const link of document.querySelectorAll("[data-vector]"))
  addButton(link, "vector", async () => JSON.stringify((await (await fetch(link.href)).json()).vector));
