// The list of frames: conditions, the movie's timeline, cards in pages.
"use strict";
(function () {
  const { make, number, many, link } = gallery;
  let isOpen = window.matchMedia("(min-width: 40rem)").matches;

  function choice(state, word, label, options, first) {
    const select = make("select", { id: `choose-${word}`, change: () => gallery.go({ [word]: select.value, page: "" }, true) },
      first === null ? null : make("option", { value: "" }, first),
      options.map(([value, text]) => make("option", { value, selected: state[word] === value }, gallery.visible(text))));
    select.value = state[word] && options.some(([value]) => value === state[word]) ? state[word] : first === null ? options[0][0] : "";
    return make("label", {}, make("span", {}, label), select);
  }

  function numberField(state, word, label, hint) {
    const input = make("input", { id: `choose-${word}`, type: "number", step: "any", placeholder: hint, value: state[word],
      change: () => gallery.go({ [word]: input.value, page: "" }, true) });
    return make("label", { class: "short" }, make("span", {}, label), input);
  }

  const counted = (rows) => rows.map(([word, count]) => [word, `${word} (${number(count)})`]);

  function conditions(state) {
    const { site } = gallery;
    const names = site.captioners.map((one) => [one.name, one.name]);
    const metric = site.metrics.find((one) => one.name === state.metric);
    const cited = make("input", { type: "checkbox", id: "choose-cited", change: () => gallery.go({ cited: cited.checked ? "1" : "", page: "" }, true) });
    cited.checked = state.cited !== "";
    const form = make("form", { class: "conditions", "aria-label": "Conditions", submit: (event) => event.preventDefault() },
      site.movies.length > 1 ? choice({ ...state }, "movie", "Movie", site.movies.filter((one) => one.frames).map((one) => [one.id, one.title || one.id]), "all movies") : null,
      choice(state, "object", "Object", counted(site.objects), "any"),
      state.object ? make("label", { class: "tick" }, cited, make("span", {}, "cited in the caption")) : null,
      choice(state, "action", "Action", counted(site.actions), "any"),
      choice(state, "violation", "Violation", [["any", "any violation"], ["none", "none (verdict ok)"], ["failed", "no caption (failed)"], ...counted(site.codes)], "with or without"),
      site.metrics.length ? choice(state, "metric", "Score", site.metrics.map((one) => [one.name, one.name]), "any") : null,
      metric ? [numberField(state, "from", "From", String(metric.low)), numberField(state, "to", "To", String(metric.high)),
        choice(state, "order", "Order", [["up", "lowest first"], ["down", "highest first"]], "of the movie"),
        metric.meaning ? make("p", { class: "facts" }, `${metric.name}: ${metric.meaning}`) : null] : null,
      names.length > 1 ? [choice(state, "by", "Conditions on", names, "any captioner"),
        choice({ ...state, a: gallery.pair(state)[0] }, "a", "Captions shown", names, null),
        choice({ ...state, b: gallery.pair(state)[1] || "-" }, "b", "and beside", [["-", "nothing"], ...names], null)] : null,
      make("a", { class: "clear", href: link({ view: "frames", a: state.a, b: state.b }, {}) }, "Clear"));
    const folded = make("details", { class: "fold", toggle: () => { isOpen = folded.open; } }, make("summary", {}, "Conditions"), form);
    folded.open = isOpen;
    return folded;
  }

  // Names of the one or two captioners that are shown.
  gallery.pair = function (state) {
    const names = gallery.site.captioners.map((one) => one.name);
    const one = names.includes(state.a) ? state.a : names[0];
    const rest = names.filter((name) => name !== one);
    const other = state.b === "-" ? undefined : rest.includes(state.b) ? state.b : rest[0];
    return [one, other].filter((name) => name !== undefined);
  };

  function card(frame, state) {
    const names = gallery.site.captioners.map((one) => one.name);
    const said = gallery.pair(state).map((name) => {
      const first = frame.captions[names.indexOf(name)][0];
      return make("span", { class: "card-caption" }, names.length > 1 ? make("span", { class: "facts" }, `${name}: `) : null,
        make("span", { class: "words-of" }, first ? make("bdi", {}, gallery.visible(first.plain || first.error || "")) : "no caption"), " ",
        first ? gallery.verdict(first) : null);
    });
    return make("li", {}, make("a", { class: "card", "data-key": frame.id, href: link(state, { view: "frame", frame: frame.id, in: frame.key }) },
      gallery.picture("thumbnails", frame.key, frame.position, { width: frame.width, height: frame.height }),
      make("span", { class: "card-title" }, gallery.time(frame.seconds), make("span", { class: "facts" }, ` shot ${frame.shot}${gallery.site.movies.length > 1 && !state.movie ? ` · ${gallery.visible(frame.movie.title || frame.movie.id)}` : ""}`)),
      said, frame.failures.length ? make("span", { class: "badge bad" }, `⚠ ${frame.failures[0][0]} failed`) : null));
  }

  function pager(state, page, pages, place) {
    if (pages < 2) return null;
    const to = (target, text, label, off) => off ? make("span", { class: "off", "aria-hidden": "true" }, text)
      : make("a", { href: link(state, { page: target === 1 ? "" : target }), "aria-label": label, class: label.split(" ")[0].toLowerCase() }, text);
    const field = make("input", { type: "number", min: 1, max: pages, value: page, "aria-label": "Page",
      change: () => gallery.go({ page: Math.min(pages, Math.max(1, Math.round(Number(field.value)) || 1)) }) });
    return make("nav", { class: "pager", "aria-label": `Pages, ${place}` }, to(1, "«", "First page", page === 1), to(page - 1, "‹ Previous", "Previous page", page === 1),
      make("span", {}, "Page ", field, ` of ${number(pages)}`), to(page + 1, "Next ›", "Next page", page === pages), to(pages, "»", "Last page", page === pages));
  }

  gallery.showFrames = async function (main, state, isCurrent) {
    const movie = gallery.site.movies.find((one) => one.id === state.movie && one.frames);
    const list = gallery.list(state);
    const cards = make("ol", { class: "cards", "aria-label": "Frames" });
    const pagers = [make("div", {}), make("div", {})];
    gallery.fill(main, make("h2", {}, movie ? gallery.visible(movie.title || movie.id) : "Frames"), conditions(state),
      movie ? gallery.timeline(movie, state.shot, (shot) => link(state, { shot: String(shot) === state.shot ? "" : shot, page: "" })) : null,
      pagers[0], cards, pagers[1]);
    let drawn = null;
    async function draw() {
      if (!isCurrent()) return;
      const size = gallery.site.piece;
      const pages = Math.max(1, Math.ceil(list.total / size));
      const page = Math.min(pages, Math.max(1, Math.round(Number(state.page)) || 1));
      gallery.say(`${many(list.total, "frame")}${list.done ? "" : ` so far, ${number(list.looked)} looked at`}${list.problem ? `. ${list.problem}` : ""}`);
      pagers.forEach((one, place) => gallery.fill(one, pager(state, page, pages, place ? "below" : "above")));
      const wanted = [];
      for (let index = (page - 1) * size; index < Math.min(list.total, page * size); index++) wanted.push(list.at(index));
      const key = wanted.join(" ");
      if (key === drawn) return;
      drawn = key;
      const frames = await Promise.all(wanted.map(([shard, place]) => gallery.frameAt(shard, place)));
      if (drawn !== key || !isCurrent()) return;
      gallery.fill(cards, frames.map((frame) => card(frame, state)));
    }
    gallery.whenListGrows(() => draw().catch((error) => gallery.say(error.message)));
    await draw();
    await list.promise;
    await draw();
  };

  gallery.turnPage = (step) => {
    const link = document.querySelector(`.pager a.${step < 0 ? "previous" : "next"}`);
    if (link) link.click();
  };
})();
