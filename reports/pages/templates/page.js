"use strict";
// Light and dark: as the system has it, until the reader chooses. Storage may be closed to local files; then the choice
// lasts as long as the page.
(() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const stored = () => { try { return localStorage.getItem("fergan-theme"); } catch { return null; } };
  const keep = (theme) => { try { localStorage.setItem("fergan-theme", theme); } catch { /* not kept */ } };
  const system = matchMedia("(prefers-color-scheme: dark)");
  const now = () => root.dataset.theme || (system.matches ? "dark" : "light");
  const show = () => { button.textContent = now() === "dark" ? "Light theme" : "Dark theme"; };
  const chosen = stored();
  if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = now() === "dark" ? "light" : "dark";
    keep(root.dataset.theme);
    show();
  });
  system.addEventListener("change", show);
  show();
})();
