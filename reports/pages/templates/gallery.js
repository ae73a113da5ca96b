// The gallery: the faces that the page shows anyway, to filter, to sort, and to open one by one. Everything it knows is
// in the JSON block; it writes text, attributes and classes, never markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const count = data.name.length;
  const all = Array.from({ length: count }, (_, i) => i);
  const STEP = 96;
  const share = (value) => value / data.scale;
  const percent = (value, digits) => {
    const step = 10 ** -digits / 2;
    if (value > 0 && 100 * value < step) return `<${(2 * step).toFixed(digits)}\u00a0%`;
    if (value < 1 && 100 * (1 - value) < step) return `>${(100 - 2 * step).toFixed(digits)}\u00a0%`;
    return `${(100 * value).toFixed(digits)}\u00a0%`;
  };
  const confidence = (i) => share(data.p[i][data.label[i]]);
  const make = (tag, classes, text) => {
    const element = document.createElement(tag);
    if (classes) element.className = classes;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const title = (i) => `${data.name[i]}: ${data.classes[data.label[i]]}, ${percent(confidence(i), 0)}`;

  for (const element of document.querySelectorAll(".script-only")) element.hidden = false;

  // Tiles: one stop of the Tab key a grid; arrow keys move on, Enter opens.
  const enliven = (tile) => {
    // its name is that of the picture in it and the caption below
    tile.setAttribute("role", "button");
    tile.setAttribute("aria-haspopup", "dialog");
    tile.tabIndex = tile.previousElementSibling ? -1 : 0;
  };
  for (const tile of document.querySelectorAll(".tile[data-face]")) enliven(tile);
  const tilesOf = (grid) => [...grid.querySelectorAll(".tile[data-face]")];
  const focus = (tile) => {
    for (const other of tilesOf(tile.parentElement)) other.tabIndex = -1;
    tile.tabIndex = 0;
    tile.focus();
  };
  const moves = {
    ArrowLeft: () => -1, ArrowRight: () => 1,
    ArrowUp: (columns) => -columns, ArrowDown: (columns) => columns,
  };
  document.addEventListener("keydown", (event) => {
    const tile = event.target.closest?.(".tile[data-face]");
    if (!tile || event.ctrlKey || event.metaKey || event.altKey) return;
    const tiles = tilesOf(tile.parentElement);
    const at = tiles.indexOf(tile);
    if (event.key === "Enter" || event.key === " ") open(tile);
    else if (event.key === "Home") focus(tiles[0]);
    else if (event.key === "End") focus(tiles[tiles.length - 1]);
    else if (moves[event.key]) {
      const below = tiles.findIndex((other) => other.offsetTop > tiles[0].offsetTop);
      const to = tiles[at + moves[event.key](below < 0 ? tiles.length : below)];
      if (to) focus(to);
    } else return;
    event.preventDefault();
  });
  document.addEventListener("click", (event) => {
    const tile = event.target.closest(".tile[data-face]");
    if (tile) open(tile);
  });

  // Filter and order.
  const tools = $("tools"), flat = $("flat"), grid = flat.querySelector(".grid"), groups = $("groups");
  let matching = all, shown = 0;
  const settings = () => {
    const number = (id, otherwise) => {
      const value = Number.parseFloat($(id).value);
      return Number.isFinite(value) ? value / 100 : otherwise;
    };
    return { label: $("by-label").value, low: number("low", 0), high: number("high", 1), order: $("order").value };
  };
  const keyOf = (order) => {
    if (order === "sure") return (i) => -confidence(i);
    if (order === "unsure") return confidence;
    if (order === "label") return (i) => data.label[i] - confidence(i) / 2;
    if (order.startsWith("p")) { const k = Number(order.slice(1)); return (i) => -data.p[i][k]; }
    return (i) => i;
  };
  const caption = (i, order) => {
    const k = order.startsWith("p") ? Number(order.slice(1)) : data.label[i];
    return `${data.classes[k]} ${percent(share(data.p[i][k]), 0)}`;
  };
  const tileOf = (i, order) => {
    const tile = make("div", "tile");
    const picture = make("span", data.cell[i] || "face none");
    picture.title = title(i);
    picture.setAttribute("role", "img");
    picture.setAttribute("aria-label", title(i));
    tile.dataset.face = i;
    tile.append(picture, make("span", "caption", caption(i, order)));
    return tile;
  };
  const more = () => {
    const order = settings().order;
    const first = shown;
    for (const i of matching.slice(shown, shown + STEP)) {
      const tile = tileOf(i, order);
      grid.append(tile);
      enliven(tile);
    }
    shown = Math.min(shown + STEP, matching.length);
    $("more").hidden = shown >= matching.length;
    return grid.children[first];
  };
  const update = () => {
    const { label, low, high, order } = settings();
    const plain = label === "" && low <= 0 && high >= 1;
    const key = keyOf(order);
    // the names of the limits are whole per cent, so a face that is shown as 50 % is in a range that ends with it
    matching = all.filter((i) => (label === "" || data.label[i] === Number(label))
      && Math.round(100 * confidence(i)) >= 100 * low - 1e-9 && Math.round(100 * confidence(i)) <= 100 * high + 1e-9);
    matching.sort((a, b) => key(a) - key(b) || a - b);
    $("tally").textContent = `${matching.length} of ${count} faces`;
    const grouped = plain && order === "groups";
    groups.hidden = !grouped;
    flat.hidden = grouped;
    grid.replaceChildren();
    shown = 0;
    if (!grouped) more();
  };
  tools.addEventListener("submit", (event) => event.preventDefault());
  tools.addEventListener("input", update);
  tools.addEventListener("reset", () => setTimeout(update));
  $("more").addEventListener("click", () => { const next = more(); if (next) focus(next); });
  update();

  // One face.
  const dialog = $("face");
  let list = [], at = 0, opener = null;
  const open = (tile) => {
    opener = tile;
    const within = tile.closest("#flat") ? matching : tilesOf(tile.parentElement).map((other) => Number(other.dataset.face));
    list = within;
    at = list.indexOf(Number(tile.dataset.face));
    fill();
    dialog.showModal();
  };
  const picture = (id, classes, text) => {
    $(id).className = classes || "face none";
    $(id).setAttribute("aria-label", text);
  };
  const fill = () => {
    const i = list[at];
    const given = data.classes[data.label[i]];
    $("face-name").textContent = data.seed ? `Seed ${data.seed[i]}` : data.name[i];
    picture("face-picture", data.cell[i], title(i));
    $("face-seen").hidden = !data.input[i];
    if (data.input[i]) picture("face-input", data.input[i], `The input of the classifier for ${data.name[i]}`);
    $("face-label").replaceChildren(make("b", "", given), ` with a confidence of ${percent(confidence(i), 1)}`);
    const order = data.classes.map((_, k) => k).sort((a, b) => data.p[i][b] - data.p[i][a] || a - b);
    $("face-bars").replaceChildren(...order.map((k) => {
      const row = make("tr", k === data.label[i] ? "given" : "");
      const bar = make("td", "bar"), fillBar = make("span");
      const name = make("th", "", data.classes[k]);
      name.scope = "row";
      fillBar.style.width = `${100 * share(data.p[i][k])}%`;
      bar.append(fillBar);
      row.append(name, bar, make("td", "value", percent(share(data.p[i][k]), 1)));
      return row;
    }));
    const pairs = [["File", data.name[i]]];
    if (data.psi) pairs.push(["Truncation ψ", String(data.psi[i])]);
    $("face-settings").replaceChildren(...[...pairs, ...data.settings].map(([name, value]) => {
      const row = make("div");
      row.append(make("dt", "", name), make("dd", "", value));
      return row;
    }));
    $("face-again").hidden = !data.command[i];
    $("face-command").textContent = data.command[i] || "";
    $("copied").textContent = "";
    $("previous").disabled = at === 0;
    $("next").disabled = at === list.length - 1;
  };
  const step = (by) => {
    if (at + by < 0 || at + by >= list.length) return;
    at += by;
    fill();
  };
  $("previous").addEventListener("click", () => step(-1));
  $("next").addEventListener("click", () => step(1));
  $("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("keydown", (event) => {
    if (event.target.closest(".command")) return;
    if (event.key === "ArrowLeft") step(-1);
    else if (event.key === "ArrowRight") step(1);
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => {
    // back to the face that was looked at last, where it is in the same grid
    const same = opener && tilesOf(opener.parentElement).find((tile) => Number(tile.dataset.face) === list[at]);
    if (same && same.offsetParent) focus(same);
    else if (opener) opener.focus();
  });
  $("copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText($("face-command").textContent);
      $("copied").textContent = "Copied";
    } catch {
      getSelection().selectAllChildren($("face-command"));
      $("copied").textContent = "Selected: press Ctrl+C";
    }
  });
})();
