/* Before anything is drawn: the reader's own choice of light or dark, where there is one. */
try {
  const chosen = localStorage.getItem("sfumato-theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
} catch { /* a page without storage follows the system */ }
