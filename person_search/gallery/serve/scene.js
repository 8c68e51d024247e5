// Of the component that shows the scene: "drop" gives a picture to the server, "pick" the number of
// a person, "draw" a box. `element`, `props` and `trigger` are Gradio's.
const FEWEST = 6; // pixels of the screen: what is smaller is a click

function send(file) {
  if (!file) return;
  if (file.size > props.most_bytes) {
    const most = (props.most_bytes / 1e6).toFixed(0);
    element.querySelector(".message").textContent = `${file.name} has more than ${most} MB.`;
    return;
  }
  const reader = new FileReader();
  reader.onload = () => trigger("drop", { name: file.name, data: reader.result.split(",")[1] ?? "" });
  reader.readAsDataURL(file);
}
element.addEventListener("change", event => {
  send(event.target.files[0]);
  event.target.value = ""; // so that the same file can be chosen again
});
for (const name of ["dragover", "dragleave", "drop"]) {
  element.addEventListener(name, event => {
    event.preventDefault();
    element.classList.toggle("over", name === "dragover");
    if (name === "drop") send(event.dataTransfer.files[0]);
  });
}
document.addEventListener("paste", event => {
  if (event.clipboardData.files.length) send(event.clipboardData.files[0]);
});

// ------------------------------------------------------------------- a click, or a box that is drawn
let start = null; // of a drag: the event, and whom it hit

function point(svg, event) {
  const { width, height } = svg.viewBox.baseVal;
  const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
  return [Math.min(Math.max(at.x, 0), width), Math.min(Math.max(at.y, 0), height)];
}
function drawn(svg, event) {
  const [a, b] = [point(svg, start.event), point(svg, event)];
  return [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1])];
}
function isClick(event) {
  const { clientX, clientY } = start.event;
  return Math.max(Math.abs(event.clientX - clientX), Math.abs(event.clientY - clientY)) < FEWEST;
}
function pick(person) {
  if (person?.dataset.number) trigger("pick", { number: Number(person.dataset.number) });
}
element.addEventListener("pointerdown", event => {
  const svg = event.target.closest("svg");
  if (!svg || event.button) return;
  start = { event, svg, person: event.target.closest(".person") };
  svg.setPointerCapture(event.pointerId);
});
element.addEventListener("pointermove", event => {
  if (!start?.svg.isConnected || isClick(event)) return; // the scene may have been drawn anew since
  const [x1, y1, x2, y2] = drawn(start.svg, event);
  const rect = start.svg.querySelector(".drawn");
  for (const [name, value] of Object.entries({ x: x1, y: y1, width: x2 - x1, height: y2 - y1 }))
    rect.setAttribute(name, value);
});
element.addEventListener("pointerup", event => {
  if (!start) return;
  if (isClick(event)) pick(start.person);
  else if (start.svg.isConnected) trigger("draw", { box: drawn(start.svg, event) });
  start = null;
});
element.addEventListener("pointercancel", () => { start = null; });
element.addEventListener("keydown", event => {
  if (event.key !== "Enter" && event.key !== " ") return;
  const person = event.target.closest(".person");
  if (person) event.preventDefault();
  pick(person);
});
element.classList.add("ready"); // what is dropped before would be lost
