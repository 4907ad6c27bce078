// Answers before and after training, one at a time. Data text reaches the page as textContent only.
const GROUPS = ["all", "fixed", "still wrong", "broke", "still right"];
const MARKS = { fixed: [false, true], "still wrong": [false, false], broke: [true, false], "still right": [true, true] };

function make(tag, parent, props = {}, text = "") {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) node.setAttribute(name, value);
  node.textContent = text;
  parent.append(node);
  return node;
}

function badge(parent, good) {
  make("span", parent, { class: `sft-badge ${good ? "sft-good" : "sft-bad"}` }, good ? "✓ right" : "✗ wrong");
}

function render({ model, el }) {
  const rows = model.get("rows");
  let group = "all";
  let words = "";
  let at = 0;

  const root = make("div", el, { class: "sft-kit", role: "group", "aria-label": "Answers before and after" });
  const filters = make("div", root, { class: "sft-row", role: "group", "aria-label": "Which answers" });
  const buttons = new Map();
  for (const name of GROUPS) {
    const count = name === "all" ? rows.length : rows.filter((row) => row.group === name).length;
    const button = make("button", filters, { type: "button", class: "sft-button", "data-testid": `answers-${name.replace(" ", "-")}` }, `${name} (${count})`);
    button.addEventListener("click", () => { group = name; at = 0; draw(); });
    buttons.set(name, button);
  }
  const steps = make("div", root, { class: "sft-row" });
  const step = (label, text, move) => {
    const button = make("button", steps, { type: "button", class: "sft-button", "aria-label": label }, text);
    button.addEventListener("click", () => { at += move; draw(); });
    return button;
  };
  const back = step("Previous answer", "◀ previous", -1);
  const place = make("span", steps, { "data-testid": "answers-place" });
  const next = step("Next answer", "next ▶", 1);
  const search = make("input", steps, { type: "search", class: "sft-input", placeholder: "find a word", "aria-label": "Find a word in questions and answers" });
  search.addEventListener("input", () => { words = search.value.toLowerCase(); at = 0; draw(); });
  const card = make("div", root, { "data-testid": "answers-card", "aria-live": "polite" });
  make("p", root, { class: "sft-note" }, "Keys: ← → one answer back or on, Home and End to the first and last.");

  function answer(parent, label, good, text) {
    const box = make("div", parent, { class: "sft-card" });
    badge(make("div", box, { class: "sft-label" }, label), good);
    make("bdi", box, { class: text ? "sft-text" : "sft-empty" }, text || "(empty)");
  }

  function draw() {
    const found = rows.filter((row) => (group === "all" || row.group === group)
      && (!words || [row.question, row.expected, row.before, row.after].some((t) => t.toLowerCase().includes(words))));
    at = Math.max(0, Math.min(at, found.length - 1));
    for (const [name, button] of buttons) button.setAttribute("aria-pressed", String(name === group));
    // not `disabled`: a disabled button loses the focus, and with it the keyboard
    back.setAttribute("aria-disabled", String(at <= 0));
    next.setAttribute("aria-disabled", String(at >= found.length - 1));
    place.textContent = found.length ? `${at + 1} of ${found.length}` : "none";
    card.replaceChildren();
    if (!found.length) { make("p", card, { class: "sft-empty" }, "No answer fits this choice."); return; }
    const row = found[at];
    const [before, after] = MARKS[row.group];
    make("bdi", make("div", card, { class: "sft-title" }), { class: "sft-text" }, row.question);
    const wanted = make("div", card, { class: "sft-note" });
    make("b", wanted, {}, "Expected: ");
    make("bdi", wanted, { class: "sft-text" }, row.expected);
    const pair = make("div", card, { class: "sft-pair" });
    answer(pair, "before training", before, row.before);
    answer(pair, "after training", after, row.after);
  }

  // The notebook takes arrow keys for itself: keep every key, and act on those that are ours.
  root.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.target === search) return;
    const move = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity }[event.key];
    if (move === undefined) return;
    event.preventDefault();
    at = move === Infinity ? rows.length : move === -Infinity ? 0 : at + move;
    draw();
  });
  draw();
}

export default { render };
