// Runs before the first paint: applies the chosen theme, light or dark. Otherwise, that of the system applies.
try {
  const chosen = localStorage.getItem('runlog.theme')
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen
} catch {
  // Without local storage, the theme of the system applies.
}
