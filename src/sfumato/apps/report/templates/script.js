(() => {
  const root = document.documentElement;
  const all = (what, inside = document) => [...inside.querySelectorAll(what)];

  /* light, dark, as the system says */
  const theme = document.querySelector(".theme");
  const order = ["auto", "light", "dark"];
  const tell = () => { theme.firstElementChild.textContent = root.dataset.theme || "auto"; };
  theme.hidden = false;
  tell();
  theme.addEventListener("click", () => {
    const next = order[(order.indexOf(root.dataset.theme || "auto") + 1) % order.length];
    if (next === "auto") delete root.dataset.theme; else root.dataset.theme = next;
    try {
      if (next === "auto") localStorage.removeItem("sfumato-theme");
      else localStorage.setItem("sfumato-theme", next);
    } catch { /* kept for this visit only */ }
    tell();
  });

  /* on a phone the contents start closed */
  if (matchMedia("(max-width: 68rem)").matches) document.querySelector(".contents details").open = false;
  all(".contents a").forEach((link) => link.addEventListener("click", () => {
    if (matchMedia("(max-width: 68rem)").matches) document.querySelector(".contents details").open = false;
  }));

  /* where one is */
  const links = new Map(all(".contents a").map((link) => [link.hash.slice(1), link]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) {
        links.forEach((link) => link.removeAttribute("aria-current"));
        links.get(entry.target.id)?.setAttribute("aria-current", "true");
      }
    }
  }, { rootMargin: "-20% 0px -70% 0px" });
  all("main section").forEach((section) => seen.observe(section));

  /* turning pictures stop and go on; they rest while out of sight */
  all(".stage").forEach((stage) => {
    stage.addEventListener("click", () => stage.classList.toggle("stopped"));
  });
  const near = new IntersectionObserver((entries) => {
    entries.forEach((entry) => entry.target.classList.toggle("away", !entry.isIntersecting));
  }, { rootMargin: "100px" });
  all(".stage").forEach((stage) => near.observe(stage));

  /* viewing distance: as far as the picture seems small */
  all(".distance").forEach((one) => {
    const slider = one.querySelector("input");
    const move = () => one.style.setProperty("--size", (1 / (1 + 9 * slider.value / 100)).toFixed(4));
    slider.addEventListener("input", move);
    move();
  });

  /* copying */
  if (navigator.clipboard) {
    all(".copy").forEach((button) => {
      button.hidden = false;
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent);
        button.textContent = "copied";
        setTimeout(() => { button.textContent = "copy"; }, 1500);
      });
    });
  }
})();
