// The slider says its share while it moves, and shows the graph when it is let go; a frame of another site has none.
// The chosen node, or else the last position, is scrolled into sight.
const prune = document.querySelector(".prune");
const slider = prune?.elements.share;
slider?.addEventListener("input", () => { prune.querySelector("output").textContent = Math.round(slider.value * 100); });
slider?.addEventListener("change", () => prune.requestSubmit());
const drawn = document.querySelector(".drawn");
// The names of layers and tokens stay at the edges of what is in sight.
const layers = drawn.querySelector(".layers"), columns = drawn.querySelector(".columns");
function keepNames() {
  layers.setAttribute("transform", `translate(${drawn.scrollLeft} 0)`);
  columns.setAttribute("transform", `translate(0 ${drawn.scrollTop + drawn.clientHeight - drawn.scrollHeight})`);
}
drawn.addEventListener("scroll", keepNames);
new ResizeObserver(keepNames).observe(drawn);
const chosen = drawn.querySelector(".chosen");
if (chosen) {
  const place = chosen.getBoundingClientRect(), around = drawn.getBoundingClientRect();
  drawn.scrollLeft += place.left - around.left - around.width / 2;
  drawn.scrollTop += place.top - around.top - around.height / 2;
} else {
  drawn.scrollLeft = drawn.scrollWidth; // the last position, where the next token is
}
