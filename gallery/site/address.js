// What is shown stands in the address behind '#': it can be kept, sent, and gone back to.
"use strict";
(function () {
  const WORDS = ["view", "movie", "shot", "object", "cited", "action", "violation", "by", "metric", "from", "to", "order",
    "page", "a", "b", "frame", "in"];
  gallery.CONDITIONS = ["movie", "shot", "object", "cited", "action", "violation", "by", "metric", "from", "to", "order"];

  gallery.address = function () {
    const said = new URLSearchParams(location.hash.slice(1));
    const state = {};
    for (const word of WORDS) state[word] = said.get(word) || "";
    if (!["movies", "frames", "frame"].includes(state.view)) state.view = "movies";
    return state;
  };

  gallery.link = function (state, changes) {
    const said = new URLSearchParams();
    const merged = { ...state, ...changes };
    for (const word of WORDS) {
      const value = merged[word];
      if (value !== "" && value !== null && value !== undefined) said.set(word, String(value));
    }
    return "#" + said.toString();
  };

  gallery.go = function (changes, quietly) {
    const target = gallery.link(gallery.address(), changes);
    if (quietly) {
      history.replaceState(null, "", target);
      gallery.show();
    } else location.hash = target;
  };

  // The conditions alone: what makes another list of frames.
  gallery.conditions = (state) => gallery.CONDITIONS.map((word) => state[word]).join("\u0000");
})();
