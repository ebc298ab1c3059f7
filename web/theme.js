// Dark or light, before the first paint, and whether the browser is too old: not a module, which would come later.
try {
  const theme = JSON.parse(localStorage.getItem("nanochatgpt.theme"));
  if (theme) document.documentElement.dataset.theme = theme;
} catch {
  // private mode: as the system has it
}

if (!("groupBy" in Map) || !CSS.supports("color", "light-dark(#000, #fff)")) document.documentElement.className = "old";
