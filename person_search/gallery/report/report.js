// A click enlarges a scene below `root`; the arrow keys go on to the next one.
function enlargeScenes(root) {
  const large = document.createElement("dialog");
  large.innerHTML = "<div></div><p><span></span><kbd>← → Esc</kbd></p>";
  let shown;
  function show(scene) {
    shown = scene;
    if (!large.isConnected) root.append(large);
    large.className = scene.closest(".query") ? "query" : "";
    large.firstElementChild.replaceChildren(scene.firstElementChild.cloneNode(true));
    large.querySelector("span").textContent = scene.dataset.title;
    if (!large.open) large.showModal();
  }
  function go(step) {
    const scenes = [...root.querySelectorAll(".scene")];
    show(scenes[(scenes.indexOf(shown) + step + scenes.length) % scenes.length]);
  }
  root.addEventListener("click", event => {
    const scene = event.target.closest(".scene");
    if (scene) show(scene);
  });
  large.addEventListener("click", () => large.close());
  large.addEventListener("keydown", event => {
    if (event.key === "ArrowRight") go(1);
    if (event.key === "ArrowLeft") go(-1);
  });
}
