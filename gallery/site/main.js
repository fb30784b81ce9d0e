// The beginning: reads what the store holds, shows what the address says; on a live page looks for what is new.
"use strict";
(function () {
  const ASK_EVERY_MS = 3000;
  const VIEWS = { movies: gallery.showMovies, frames: gallery.showFrames, frame: gallery.showFrame };
  let turn = 0;
  let shownView = null;

  function mark(view) {
    for (const one of document.querySelectorAll("nav [data-view]")) {
      if (one.dataset.view === view) one.setAttribute("aria-current", "page");
      else one.removeAttribute("aria-current");
    }
  }

  gallery.show = async function () {
    const own = ++turn;
    const state = gallery.address();
    const main = gallery.find("main");
    const held = document.activeElement;
    const [key, id] = held && main.contains(held) ? [held.dataset.key, held.id] : [];
    const place = [state.view, state.frame, state.page].join(" ");
    gallery.here = null;
    gallery.shownAt = null;
    mark(state.view === "frame" ? "frames" : state.view);
    main.setAttribute("aria-busy", "true");
    try {
      await VIEWS[state.view](main, state, () => own === turn);
    } catch (error) {
      if (own === turn) gallery.fill(main, gallery.make("p", { class: "problem" }, error.message));
    }
    if (own !== turn) return;
    main.removeAttribute("aria-busy");
    document.title = `${main.querySelector("h2") ? main.querySelector("h2").textContent : ""} – captions of movies`;
    const again = id ? gallery.find(id) : key ? [...main.querySelectorAll("[data-key]")].find((one) => one.dataset.key === key) : null;
    if (again) again.focus({ preventScroll: true });
    else if (shownView !== null && shownView !== place && !gallery.find("keys").open) main.focus({ preventScroll: true });
    if (shownView !== null && shownView !== place) window.scrollTo(0, 0);
    shownView = place;
    gallery.shownAt = location.hash;
  };

  async function renew() {
    gallery.find("renew").hidden = true;
    gallery.site = await gallery.loadAnew("site");
    gallery.forget();
    await gallery.show();
  }

  async function ask() {
    if (document.visibilityState === "visible" && gallery.find("renew").hidden) {
      try {
        const { version } = await gallery.loadAnew("version");
        if (version !== gallery.site.version) {
          if (gallery.find("follow").checked && gallery.address().view !== "frame") await renew();
          else gallery.find("renew").hidden = false;
        }
      } catch (error) {
        gallery.say(`${error.message} Is the server still running?`);
      }
    }
    window.setTimeout(ask, ASK_EVERY_MS);
  }

  async function start() {
    gallery.find("show-keys").addEventListener("click", gallery.showKeys);
    gallery.find("renew").addEventListener("click", renew);
    gallery.find("skip").addEventListener("click", (event) => {
      event.preventDefault();
      gallery.find("main").focus();
    });
    window.addEventListener("hashchange", gallery.show);
    try {
      gallery.site = await gallery.load("site");
    } catch (error) {
      gallery.say(`${error.message} Was the whole folder copied?`);
      return;
    }
    gallery.forget();
    await gallery.show();
    if (gallery.site.live) {
      gallery.find("live").hidden = false;
      window.setTimeout(ask, ASK_EVERY_MS);
    }
  }

  start();
})();
