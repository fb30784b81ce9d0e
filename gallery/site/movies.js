// The first page: movies, captioners and their scores, faults by code.
"use strict";
(function () {
  const { make, number, many, link } = gallery;
  const none = { view: "frames" };

  function movieCard(movie) {
    const place = gallery.site.movies.indexOf(movie);
    const first = gallery.site.shards.find((shard) => shard[1] === place);
    const facts = [movie.duration === null ? null : gallery.time(movie.duration), many(movie.frames, "frame"),
      movie.width ? `${movie.width} × ${movie.height}` : null].filter(Boolean).join(" · ");
    const inside = [
      first ? gallery.picture("thumbnails", first[0], first[3]) : make("span", { class: "no-picture" }, "no frames"),
      make("span", { class: "card-title" }, gallery.visible(movie.title || movie.id)), make("span", { class: "facts" }, facts),
      movie.status === "ok" ? null : make("span", { class: "badge bad" }, `⚠ ${movie.status}`),
      movie.error ? make("span", { class: "facts" }, gallery.visible(movie.error)) : null,
    ];
    return make("li", {}, movie.frames
      ? make("a", { class: "card", href: link(none, { movie: movie.id }) }, inside)
      : make("div", { class: "card" }, inside));
  }

  // `quiet`: its name is seen beside it already.
  function table(caption, heads, rows, quiet) {
    if (!rows.length) return null;
    return make("div", { class: "wide", role: "region", tabindex: "0", "aria-label": caption }, make("table", {}, make("caption", { class: quiet ? "aloud" : null }, caption),
      make("thead", {}, make("tr", {}, heads.map((head) => make("th", { scope: "col" }, head)))),
      make("tbody", {}, rows.map(([first, ...rest]) => make("tr", {}, make("th", { scope: "row" }, first), rest.map((cell) => make("td", {}, cell)))))));
  }
  gallery.table = table;

  const share = (part, whole) => (whole ? `${number(part)} (${number((100 * part) / whole, 1)} %)` : "0");

  function captionerTable() {
    return table("Captions", ["Captioner", "Frames", "Without fault", "At fault", "Failed"], gallery.site.captioners.map((one) => [
      gallery.visible(one.name), number(one.captions), share(one.ok, one.captions),
      make("a", { href: link(none, { violation: "any", by: one.name, a: one.name }) }, share(one.violations, one.captions)),
      share(one.failed, one.captions)]));
  }

  function scoreTable() {
    const names = gallery.site.captioners.map((one) => one.name);
    const rows = new Map();
    for (const [captioner, metric, value, low, high, captions, reason] of gallery.site.summaries) {
      if (value === null && !names.includes(captioner)) continue;
      if (!rows.has(metric)) rows.set(metric, new Map());
      const between = low === null ? "" : ` [${number(low)}, ${number(high)}]`;
      rows.get(metric).set(captioner, value === null
        ? make("span", { class: "facts" }, gallery.visible(reason || "–")) : make("span", { title: many(captions, "caption") }, `${number(value, 4)}${between}`));
    }
    const columns = [...new Set(gallery.site.summaries.map(([captioner]) => captioner))].sort();
    return table("Scores over all frames, with intervals of 95 %", ["Metric", ...columns.map(gallery.visible)],
      [...rows].filter(([, cells]) => cells.size).map(([metric, cells]) => [metric, ...columns.map((one) => cells.get(one) || "–")]), true);
  }

  function faultTable() {
    return table("Faults by code", ["Code", "Faults", "Meaning", "Remedy"], gallery.site.codes.map(([code, count, meaning, remedy]) => [
      make("a", { href: link(none, { violation: code }) }, gallery.visible(code)), number(count), meaning, remedy]));
  }

  gallery.showMovies = function (main) {
    const { movies, captioners, query } = gallery.site;
    const scores = scoreTable();
    gallery.fill(main,
      query === null ? null : make("p", {}, "Shown are the frames of the query ", make("code", {}, gallery.visible(query))),
      make("h2", {}, many(movies.length, "movie")),
      make("ul", { class: "cards" }, movies.map(movieCard)),
      captioners.length ? [make("h2", {}, "Captioners"), captionerTable()] : make("p", {}, "No captions stand in the store yet."),
      faultTable(),
      scores ? make("details", { class: "scores" }, make("summary", {}, "Scores over all frames, with intervals of 95 %"), scores) : null);
    const frames = movies.reduce((sum, movie) => sum + movie.frames, 0);
    gallery.say(`${many(movies.length, "movie")}, ${many(frames, "frame")}, ${many(captioners.length, "captioner")}.`);
  };
})();
