// Runs before the first paint: the colours of the web UI, which are those that were chosen there, or those of the system.
const system = window.matchMedia('(prefers-color-scheme: dark)')
const paint = () => {
  const chosen = document.documentElement.dataset.theme
  document.documentElement.classList.toggle('dark-mode', chosen ? chosen === 'dark' : system.matches)
}
system.addEventListener('change', paint)
paint()
