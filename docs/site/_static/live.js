// Brings the views of the executed notebooks to life without a kernel. Each view is an ES module
// over data that the notebook has left in the page; what needs Python keeps its static twin.
function modelOf(state) {
  const listeners = {};
  const call = (name) => (listeners[name] ?? []).forEach((listener) => listener());
  return {
    get: (name) => state[name],
    set(name, value) {
      state[name] = value;
      call(`change:${name}`);
      call("change");
    },
    on(name, listener) { (listeners[name] ??= []).push(listener); },
    off(name, listener) {
      listeners[name] = (listeners[name] ?? []).filter((other) => other !== listener);
    },
    save_changes() {},
    send() {},
  };
}

const modules = new Map();
const styles = new Set();

function moduleOf(source) {
  if (!modules.has(source)) {
    const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    modules.set(source, import(address));
  }
  return modules.get(source);
}

async function bringToLife(place) {
  const view = window.KIT_VIEWS?.[place.dataset.view];
  if (!view) return;
  const { default: found } = await moduleOf(view.esm);
  const part = typeof found === "function" ? await found() : found;
  if (view.css && !styles.has(view.css)) {
    styles.add(view.css);
    const style = document.createElement("style");
    style.textContent = view.css;
    document.head.append(style);
  }
  const model = modelOf(structuredClone(view.state));
  const el = document.createElement("div");
  await part.initialize?.({ model });
  await part.render({ model, el });
  place.replaceChildren(el);
  place.dataset.alive = "yes";
}

// Paper is white: print in the light theme, then go back.
for (const event of ["beforeprint", "afterprint"]) {
  window.addEventListener(event, () => {
    const { dataset } = document.documentElement;
    if (event === "beforeprint") dataset.before = dataset.theme;
    dataset.theme = event === "beforeprint" ? "light" : dataset.before;
  });
}

window.addEventListener("DOMContentLoaded", () => {
  // The theme's sidebar opens its sections by a bare arrow: name it for screen readers.
  for (const arrow of document.querySelectorAll("summary")) {
    if (!arrow.textContent.trim()) arrow.setAttribute("aria-label", "Pages of this section");
  }
  for (const place of document.querySelectorAll(".kit-live")) {
    bringToLife(place).catch((problem) => {
      place.dataset.alive = "no"; // the static twin stays
      console.warn("a view stays static:", problem);
    });
  }
});
