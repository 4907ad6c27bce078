// The rank view. PEFT's counts come along; this module draws W, B and A to one scale.
const WIDTH = 760;
const SIDE = 230; // pixels of the longest side at most
const INK = { W: "#56b4e9", B: "#e69f00", A: "#009e73" }; // all carry black text
const SVG = ["http:", "", "www.w3.org", "2000", "svg"].join("/");  // a name, not an address

function make(tag, parent, props = {}, text = "") {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) node.setAttribute(name, value);
  node.textContent = text;
  parent.append(node);
  return node;
}

function draw(tag, parent, props = {}, text = "") {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(props)) node.setAttribute(name, value);
  node.textContent = text;
  parent.append(node);
  return node;
}

const written = (number) => number.toLocaleString("en-US");

function render({ model, el }) {
  const data = model.get("data");
  let [name, targets, rank] = data.start;
  let chosen = 0; // which kind of layer is drawn

  const root = make("div", el, { class: "sft-kit", role: "group", "aria-label": "Adapter by rank and targets" });
  const row = (label, values, now, pick) => {
    const line = make("div", root, { class: "sft-row", role: "group", "aria-label": label });
    make("span", line, { "aria-hidden": "true" }, `${label}:`);
    const buttons = values.map((value) => {
      const button = make("button", line, { type: "button", class: "sft-button", "data-testid": `ranks-${value}` }, value);
      button.addEventListener("click", () => { pick(value); paint(); });
      return button;
    });
    return () => buttons.forEach((b, n) => b.setAttribute("aria-pressed", String(values[n] === now())));
  };
  const marks = [
    row("Model", data.models, () => name, (v) => { name = v; }),
    row("Targets", data.targets, () => targets, (v) => { targets = v; }),
  ];
  const line = make("div", root, { class: "sft-row" });
  const box = make("label", line, {}, "Rank ");
  const slider = make("input", box, { type: "range", min: 0, max: data.ranks.length - 1, step: 1, value: data.ranks.indexOf(rank), "aria-label": "Rank", "data-testid": "ranks-rank" });
  const shown = make("b", box);
  slider.addEventListener("input", () => { rank = data.ranks[Number(slider.value)]; paint(); });
  const kinds = make("div", root, { class: "sft-row", role: "group", "aria-label": "Layer to draw" });
  const picture = draw("svg", root, { role: "img", width: WIDTH, height: SIDE + 40, viewBox: `0 0 ${WIDTH} ${SIDE + 40}`, "data-testid": "ranks-picture" });
  const words = make("p", root, { class: "sft-note", role: "status", "data-testid": "ranks-words" });
  const scroll = make("div", root, { class: "sft-scroll" });
  const table = make("table", scroll, { class: "sft-table", "data-testid": "ranks-facts" });
  const caption = make("caption", table);
  const body = make("tbody", table);
  const cells = data.headings.map((heading) => {
    const tr = make("tr", body);
    make("th", tr, { scope: "row" }, heading);
    return make("td", tr, { class: "sft-number" });
  });

  function block(x, y, width, height, letter, label) {
    draw("rect", picture, { x, y, width: Math.max(width, 1.5), height: Math.max(height, 1.5), fill: INK[letter], stroke: "currentColor" });
    draw("text", picture, { x, y: y + Math.max(height, 1.5) + 16 }, label);
  }

  function paint() {
    const key = `${name}/${targets}/${rank}`;
    const modules = data.modules[name];
    chosen = Math.min(chosen, modules.length - 1);
    const [kind, outputs, inputs, layers] = modules[chosen];
    const added = data.adapters[key][chosen];
    marks.forEach((mark) => mark());
    shown.textContent = ` ${rank}`;
    slider.setAttribute("aria-valuetext", `rank ${rank}`);
    kinds.replaceChildren();
    make("span", kinds, { "aria-hidden": "true" }, "Draw:");
    modules.forEach(([each], n) => {
      const has = data.adapters[key][n] > 0;
      const button = make("button", kinds, { type: "button", class: "sft-button", "aria-pressed": String(n === chosen) }, has ? each : `${each} (none)`);
      button.addEventListener("click", () => { chosen = n; paint(); kinds.querySelectorAll("button")[n].focus(); });
    });
    picture.replaceChildren();
    // W, B and A side by side fit the width; W, B and A each fit the height.
    const unit = Math.min(SIDE / Math.max(outputs, inputs, added ? rank : 0), (WIDTH - 260) / (2 * inputs + (added ? rank : 0)));
    const high = outputs * unit;
    const wide = inputs * unit;
    block(10, 10, wide, high, "W", `W  ${written(outputs)} × ${written(inputs)}`);
    if (added) {
      const x = 10 + wide + 30;
      draw("text", picture, { x: x - 5, y: 10 + high / 2 }, "+  α/r ·");
      const left = x + 62;
      block(left, 10, rank * unit, high, "B", `B  ${written(outputs)} × ${rank}`);
      block(left + Math.max(rank * unit, 90) + 20, 10, wide, rank * unit, "A", `A  ${rank} × ${written(inputs)}`);
      const each = added / layers;
      const share = (100 * each) / (outputs * inputs);
      words.textContent = `${kind}: W has ${written(outputs * inputs)} frozen weights; B and A have ${written(each)} that train (${share < 10 ? share.toFixed(1) : share.toFixed(0)} %). ${layers} such layers: ${written(added)}.`
        + (share >= 100 ? " More than W itself: this rank saves nothing here." : "");
    } else {
      words.textContent = `${kind}: no adapter here with these targets; all ${layers} layers stay as they are.`;
    }
    picture.setAttribute("aria-label", words.textContent);
    caption.textContent = `${name}, ${targets}, rank ${rank}`;
    cells.forEach((cell, n) => { cell.textContent = data.facts[key][n]; });
  }

  root.addEventListener("keydown", (event) => event.stopPropagation()); // else the notebook takes the arrows
  paint();
}

export default { render };
