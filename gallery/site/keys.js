// What the keys do, and a page that says so.
"use strict";
(function () {
  const { make } = gallery;
  const KEYS = [
    ["← →", "frame before, frame after; in the list: page before, page after"], ["Esc, u", "let go of a held light; then back to the list, to the movies"],
    ["/", "to the conditions"], ["b m n t", "boxes, masks, names in the picture, tags in the caption: show or hide"],
    ["Tab, Enter", "from span to span and object to object: each lights what belongs to it; Enter holds the light"], ["?", "this page"],
  ];
  const SIGNS = [
    [make("span", { class: "tag kind-object hue-0" }, "words"), "an object that is cited (solid line)"], [make("span", { class: "tag kind-action hue-1" }, "words"), "an action (dotted line)"],
    [make("span", { class: "tag kind-location hue-2" }, "words"), "a location (double line)"], [make("span", { class: "tag kind-object hue-5 at-fault" }, "words"), "a tag at fault (wavy line)"],
    [make("span", { class: "fault-sign" }, "⚠"), "here is a fault; the list below the caption says which"], ["▲", "the better one of two scores"],
  ];
  let singleKeys = true;

  function fill(dialog) {
    const tick = make("input", { type: "checkbox", id: "single-keys", change: () => { singleKeys = tick.checked; } });
    tick.checked = singleKeys;
    gallery.fill(dialog, make("h2", { id: "keys-title" }, "Keys and signs"), make("dl", {}, KEYS.map(([keys, what]) => [make("dt", {}, make("kbd", {}, keys)), make("dd", {}, what)])),
      make("label", {}, tick, " Keys of one letter work"), make("dl", {}, SIGNS.map(([sign, what]) => [make("dt", {}, sign), make("dd", {}, what)])),
      make("p", {}, "Colours stand for objects, the same in the picture and in the caption; every object has its name beside it too."),
      make("button", { type: "button", click: () => dialog.close() }, "Close"));
  }

  gallery.showKeys = function () {
    const dialog = gallery.find("keys");
    fill(dialog);
    if (!dialog.open) dialog.showModal();
  };

  function toggle(name) {
    const tick = gallery.find(`show-${name}`);
    if (tick) tick.click();
  }

  function up(state) {
    if (gallery.here && gallery.here.release()) return;
    if (state.view === "frame") {
      const link = document.querySelector(".pager a.up");
      if (link) link.click();
      else gallery.go({ view: "frames", frame: "", in: "" });
    } else if (state.view === "frames") location.hash = "#view=movies";
  }

  function step(state, by) {
    if (state.view === "frames") gallery.turnPage(by);
    const link = state.view === "frame" ? document.querySelector(`.frame-head .pager a.${by < 0 ? "previous" : "next"}`) : null;
    if (link) link.click();
  }

  document.addEventListener("keydown", (event) => {
    const inField = event.target instanceof Element && event.target.closest("input:not([type=checkbox]), select, textarea, dialog, .wide");
    if (inField || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || !gallery.site) return;
    const state = gallery.address();
    const single = { b: () => toggle("boxes"), m: () => toggle("masks"), n: () => toggle("names"), t: () => toggle("tags"), u: () => up(state), "?": gallery.showKeys,
      "/": () => { const field = document.querySelector(".conditions select"); if (field) field.focus(); else gallery.go({ view: "frames" }); } };
    const always = { ArrowLeft: () => step(state, -1), ArrowRight: () => step(state, 1), Escape: () => up(state) };
    const act = always[event.key] || (singleKeys ? single[event.key] : undefined);
    if (!act) return;
    event.preventDefault();
    act();
  });
})();
