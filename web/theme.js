// Dark or light, before the first paint: not a module, which would come later.
try {
  const theme = JSON.parse(localStorage.getItem("nanochatgpt.theme"));
  if (theme) document.documentElement.dataset.theme = theme;
} catch {
  // private mode: as the system has it
}
