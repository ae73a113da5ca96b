// One face at a time; the answers stay in this browser until they are saved as a file.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const total = data.faces.length, key = `fergan-audit-${data.digest}`;
  const UNSEEN = null, CANNOT = -1;
  let answers = new Array(total).fill(UNSEEN), at = 0, saved = true;
  try {
    const held = JSON.parse(localStorage.getItem(key));
    const fits = Array.isArray(held) && held.length === total
      && held.every((code) => code === UNSEEN || (Number.isInteger(code) && code >= CANNOT && code < data.classes.length));
    if (fits) answers = held;
  } catch { /* nothing is kept here */ }
  const first = answers.indexOf(UNSEEN);
  at = first < 0 ? total - 1 : first;
  const keep = () => { try { localStorage.setItem(key, JSON.stringify(answers)); return true; } catch { return false; } };
  const buttons = [...document.querySelectorAll("#choices button")];

  const show = () => {
    $("picture").src = data.pictures[at];
    $("picture").alt = `Face ${at + 1} of ${total}`;
    for (const button of buttons) button.setAttribute("aria-pressed", String(Number(button.dataset.code) === answers[at]));
    const done = answers.filter((code) => code !== UNSEEN).length;
    $("bar").value = done;
    $("state").textContent = `Face ${at + 1} of ${total}; ${done} done${done === total ? ". Save the answers below." : ""}`
      + (saved ? "" : " (this browser keeps nothing: save before you leave)");
    $("undo").disabled = at === 0;
    $("skip").disabled = at === total - 1;
  };
  const answer = (code) => {
    answers[at] = code;
    saved = keep();
    if (at < total - 1) at += 1;
    show();
  };
  const go = (by) => { at = Math.min(Math.max(at + by, 0), total - 1); show(); };
  $("choices").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) answer(Number(button.dataset.code));
  });
  $("undo").addEventListener("click", () => go(-1));
  $("skip").addEventListener("click", () => go(1));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^[0-9]$/.test(event.key) && Number(event.key) <= data.classes.length) answer(Number(event.key) - 1);
    else if (event.key === "ArrowLeft" || event.key === "Backspace" || event.key === "u") go(-1);
    else if (event.key === "ArrowRight") go(1);
    else return;
    event.preventDefault();
  });

  const word = (code) => (code === UNSEEN ? null : code === CANNOT ? false : data.classes[code]);
  const quoted = (text) => `"${text.replaceAll('"', '""')}"`;
  const save = (name, type, text) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };
  const base = `audit-${data.run.replace(/[^A-Za-z0-9._-]/g, "_")}`;
  $("json").addEventListener("click", () => save(`${base}.json`, "application/json", JSON.stringify({
    format: { name: "fergan.audit", version: 1 }, run: data.run, digest: data.digest, saved: new Date().toISOString(),
    answers: data.faces.map((face, i) => ({ face, answer: word(answers[i]) })),
  }, null, 2)));
  $("csv").addEventListener("click", () => save(`${base}.csv`, "text/csv",
    ["face,answer,cannot_tell", ...data.faces.map((face, i) =>
      `${quoted(face)},${quoted(word(answers[i]) || "")},${answers[i] === CANNOT ? "yes" : ""}`)].join("\r\n") + "\r\n"));
  $("restart").addEventListener("click", () => {
    if (!confirm("Forget all answers?")) return;
    answers = new Array(total).fill(UNSEEN);
    at = 0;
    saved = keep();
    show();
  });
  $("audit").hidden = false;
  show();
})();
