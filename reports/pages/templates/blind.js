// One pair at a time; names are shown with the result only, after the last pair.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const total = data.pictures.length, key = `fergan-blind-${data.digest}`;
  const LEFT = 0, RIGHT = 1, CANNOT = -1;
  let answers = [];
  try {
    const held = JSON.parse(localStorage.getItem(key));
    if (Array.isArray(held) && held.length <= total && held.every((code) => [LEFT, RIGHT, CANNOT].includes(code))) answers = held;
  } catch { /* nothing is kept here */ }
  const keep = () => { try { localStorage.setItem(key, JSON.stringify(answers)); } catch { /* it stays in memory */ } };

  // Wilson's 95 % interval of a share
  const interval = (successes, n) => {
    const z = 1.959964, share = successes / n, scale = 1 + z * z / n;
    const middle = (share + z * z / (2 * n)) / scale;
    const half = z * Math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / scale;
    return [middle - half, middle + half];
  };
  const outcome = () => {
    const decided = answers.map((code, i) => (code === CANNOT ? null : (code === LEFT) === data.first_is_left[i]));
    const first = decided.filter((won) => won === true).length, n = decided.filter((won) => won !== null).length;
    return { first, second: n - first, undecided: total - n, interval: n ? interval(first, n) : null };
  };
  const percent = (share) => `${Math.round(100 * share)} %`;
  const show = () => {
    const at = answers.length, done = at === total;
    $("pair").hidden = $("choices-row").hidden = done;
    $("result").hidden = !done;
    $("bar").value = at;
    $("state").textContent = done ? `${total} of ${total} pairs` : `Pair ${at + 1} of ${total}`;
    $("undo").disabled = at === 0;
    if (!done) {
      [$("left").src, $("right").src] = data.pictures[at];
      return;
    }
    const found = outcome(), [a, b] = data.names;
    const tied = found.undecided ? ` In ${found.undecided} pairs you could not tell.` : "";
    if (!found.interval) { $("verdict").textContent = `No pair was decided.${tied}`; return; }
    const [low, high] = found.interval;
    const sure = low > 0.5 ? `${a} looks more real.` : high < 0.5 ? `${b} looks more real.` : "That is within chance.";
    $("verdict").textContent = `${a} was chosen ${found.first} times, ${b} ${found.second} times: `
      + `${percent(found.first / (found.first + found.second))} for ${a} (95 % interval ${percent(low)} to ${percent(high)}). ${sure}${tied}`;
  };
  const answer = (code) => { if (answers.length < total) { answers.push(code); keep(); show(); } };
  const back = () => { answers.pop(); keep(); show(); };
  $("choices-row").addEventListener("click", (event) => {
    const button = event.target.closest("button[data-code]");
    if (button) answer(Number(button.dataset.code));
  });
  $("undo").addEventListener("click", back);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "ArrowLeft") answer(LEFT);
    else if (event.key === "ArrowRight") answer(RIGHT);
    else if (event.key === "0") answer(CANNOT);
    else if (event.key === "Backspace") back();
    else return;
    event.preventDefault();
  });
  $("json").addEventListener("click", () => {
    const text = JSON.stringify({
      format: { name: "fergan.blind", version: 1 }, names: data.names, digest: data.digest, saved: new Date().toISOString(),
      result: outcome(),
      answers: answers.map((code, i) => (code === CANNOT ? null : data.names[(code === LEFT) === data.first_is_left[i] ? 0 : 1])),
    }, null, 2);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = "blind.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });
  $("restart").addEventListener("click", () => {
    if (!confirm("Forget all answers?")) return;
    answers = [];
    keep();
    show();
  });
  $("audit").hidden = false;
  show();
})();
