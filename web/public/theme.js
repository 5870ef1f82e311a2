// Before the first paint: light or dark, when someone has chosen. Else the system's choice counts.
try {
  const chosen = localStorage.getItem('runlog.theme')
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen
} catch {
  // A browser that keeps nothing follows the system.
}
