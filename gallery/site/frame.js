// One frame: picture, boxes, masks, objects, captions side by side, scores.
"use strict";
(function () {
  const { make, draw, aloud, number, many, link, visible } = gallery;
  const HUES = [[230, 159, 0], [86, 180, 233], [0, 158, 115], [240, 228, 66], [0, 114, 178], [213, 94, 0], [204, 121, 167], [160, 160, 160], [128, 128, 128]];
  const [FAINT, PLAIN, STRONG] = [25, 70, 190];
  gallery.shown = { boxes: true, masks: true, names: true, tags: false };
  gallery.here = null;

  function boxes(frame, looks) {
    const size = (one) => one.box[2] * one.box[3];
    const parts = [...frame.objects].sort((one, other) => size(other) - size(one)).map((one) => {
      const [x, y, w, h] = one.box.map((value, place) => value * (place % 2 ? frame.height : frame.width));
      const look = looks(one.id);
      const at = { x, y, width: w, height: h };
      const name = draw("text", { x, y, class: "name" }, document.createTextNode(visible(one.id)));
      return draw("g", { "data-objects": one.id, class: `box hue-${look.hue} line-${look.line}` },
        draw("rect", { ...at, class: "under" }), draw("rect", { ...at, class: "over" }), name);
    });
    return draw("svg", { viewBox: `0 0 ${frame.width} ${frame.height}`, class: "boxes", "aria-hidden": "true", preserveAspectRatio: "none" }, ...parts);
  }

  function citedWords(frame) {
    const words = new Map();
    for (const captions of frame.captions) {
      for (const said of captions.slice(0, 1)) {
        said.mentions.forEach(([, , ids], index) => {
          const text = said.runs.filter((run) => run[1] === 0 && run[2].includes(index)).map((run) => run[0]).join("").trim();
          for (const id of new Set(ids)) words.set(id, [...(words.get(id) || []), text]);
        });
      }
    }
    return words;
  }

  function objects(frame, looks) {
    if (!frame.objects.length) return make("p", {}, "Nothing was detected in this frame.");
    const words = citedWords(frame);
    return make("ul", { class: "objects" }, frame.objects.map((one) => {
      const look = looks(one.id);
      const cited = words.get(one.id);
      return make("li", {}, make("button", { type: "button", class: `object hue-${look.hue} line-${look.line}`, "aria-pressed": "false", "data-objects": one.id },
        make("span", { class: "swatch", "aria-hidden": "true" }), make("span", {}, visible(one.id)),
        make("span", { class: "facts" }, aloud(", "), one.thing ? "thing" : "stuff", `, score ${one.score.toFixed(2)}`, cited ? "" : ", not cited"),
        cited ? aloud(`, cited as ${cited.join("; ")}`) : null));
    }));
  }

  function ticks(redraw) {
    const one = (name, label, key) => {
      const input = make("input", { type: "checkbox", id: `show-${name}`, change: () => { gallery.shown[name] = input.checked; redraw(); } });
      input.checked = gallery.shown[name];
      return make("label", {}, input, ` ${label} `, make("kbd", { "aria-hidden": "true" }, key));
    };
    return make("fieldset", { class: "ticks" }, make("legend", {}, "Show"), one("boxes", "boxes", "b"), one("masks", "masks", "m"), one("names", "names", "n"), one("tags", "tags", "t"));
  }

  function captionOf(said, frame, title) {
    if (!said) return make("p", {}, "This captioner has no caption of this frame.");
    const text = said.error ? make("p", { class: "caption" }, `No caption: ${visible(said.error)}`) : gallery.captionText(said, frame, gallery.shown.tags);
    return make("div", { "data-caption": said.id }, title ? make("h4", {}, title) : null, make("p", { class: "verdicts" }, gallery.verdict(said),
      said.chosen === false && !title ? make("span", { class: "badge bad" }, "quarantined") : null), text, gallery.violations(said), gallery.provenance(said));
  }

  function captionsOf(frame, name) {
    const captions = frame.captions[gallery.site.captioners.findIndex((one) => one.name === name)];
    const others = captions.slice(1);
    const label = (said) => `${said.attempt ? `attempt ${said.attempt} of ` : ""}candidate ${said.candidate}`;
    return make("section", { class: "captioner", "aria-label": `Caption by ${name}` }, make("h3", {}, visible(name)), captionOf(captions[0], frame, null),
      others.length ? make("details", { class: "others" }, make("summary", {}, many(others.length, "other caption")), others.map((said) => captionOf(said, frame, label(said)))) : null);
  }

  function scoreTable(frame, pair) {
    const names = gallery.site.captioners.map((one) => one.name);
    const said = pair.map((name) => new Map((frame.captions[names.indexOf(name)][0] || { scores: [] }).scores));
    const metrics = gallery.site.metrics.filter((metric) => said.some((one) => one.has(metric.name)));
    if (!metrics.length) return null;
    const better = (metric, place) => {
      if (said.length < 2 || metric.higher === null || metric.higher === undefined || !said.every((one) => one.has(metric.name))) return false;
      const [own, other] = [said[place].get(metric.name), said[1 - place].get(metric.name)];
      return own !== other && own > other === metric.higher;
    };
    return make("details", { class: "scores", open: true }, make("summary", {}, "Scores of this frame"), gallery.table("Scores of this frame", ["Metric", ...pair.map(visible)], metrics.map((metric) => [
      make("span", { title: metric.meaning }, metric.name), ...said.map((one, place) => one.has(metric.name)
        ? [number(one.get(metric.name), 4), better(metric, place) ? make("span", { class: "better" }, " ▲", aloud("better")) : null] : "–")]), true));
  }

  function stage(frame, looks) {
    const description = `Frame at ${gallery.time(frame.seconds)} of ${frame.movie.title || frame.movie.id}, with ${many(frame.objects.length, "object")}`;
    const image = gallery.picture("pictures", frame.key, frame.position, { alt: visible(description), loading: "eager", width: frame.width, height: frame.height });
    const canvas = make("canvas", { class: "masks", "aria-hidden": "true" });
    const segments = new Map();
    frame.objects.forEach((one) => segments.set(one.segment, [...(segments.get(one.segment) || []), one.id]));
    let masks = [];
    let lit = [];
    function paint() {
      gallery.paintMasks(canvas, masks, (segment) => {
        const ids = segments.get(segment) || [];
        const alpha = !lit.length ? PLAIN : ids.some((id) => lit.includes(id)) ? STRONG : FAINT;
        return [HUES[looks(ids[0]).hue], ids.length ? alpha : 0];
      });
    }
    gallery.masksOf(frame).then((found) => { masks = found; paint(); }).catch((error) => gallery.say(error.message));
    const overlay = boxes(frame, looks);
    const layers = make("div", { class: "layers" }, image, canvas, overlay);
    new ResizeObserver(() => {
      if (overlay.clientWidth) overlay.style.setProperty("--unit", String(frame.width / overlay.clientWidth));
    }).observe(layers);
    return { layers, repaint(ids) { lit = ids; paint(); } };
  }

  async function find(state) {
    const { shards, movies } = gallery.site;
    const own = (shard) => (shards[shard][0] === state.in ? 0 : state.frame.startsWith(movies[shards[shard][1]].id) ? 1 : 2);
    const order = shards.map((_, shard) => shard).sort((one, other) => own(one) - own(other) || one - other);
    for (const shard of order) {
      const place = (await gallery.facets(shard)).ids.indexOf(state.frame);
      if (place >= 0) return gallery.frameAt(shard, place);
    }
    return null;
  }

  gallery.showFrame = async function (main, state, isCurrent) {
    const frame = await find(state);
    if (!isCurrent()) return;
    if (!frame) {
      gallery.fill(main, make("h2", {}, "No such frame"), make("p", {}, `${visible(state.frame)} is not among what is shown. `, make("a", { href: link({}, { view: "frames" }) }, "All frames")));
      return;
    }
    const looks = gallery.looks(frame);
    const pair = gallery.pair(state);
    const picture = stage(frame, looks);
    const columns = make("div", { class: "columns" });
    const root = make("article", { class: "frame" });
    const redraw = () => {
      for (const name of ["boxes", "masks", "names"]) root.classList.toggle(`no-${name}`, !gallery.shown[name]);
      gallery.fill(columns, pair.map((name) => captionsOf(frame, name)));
    };
    const steps = make("nav", { class: "pager", "aria-label": "Frames" });
    const position = make("span", {}, "");
    const title = `${visible(frame.movie.title || frame.movie.id)}, ${gallery.time(frame.seconds)}`;
    root.append(make("div", { class: "frame-head" }, make("h2", {}, title, make("span", { class: "facts" }, ` frame ${frame.index} · shot ${frame.shot}`)), steps),
      gallery.timeline(frame.movie, frame.shot, (shot, first) => link(state, { view: "frames", movie: frame.movie.id, shot, page: "", frame: "", in: "" })),
      make("div", { class: "split" }, make("div", { class: "seen" }, picture.layers, ticks(redraw),
        frame.failures.map(([stageName, error]) => make("p", { class: "badge bad" }, `⚠ ${stageName}: ${visible(error)}`))),
      make("div", { class: "told" }, columns, scoreTable(frame, pair),
        frame.references.length ? make("details", { class: "references", open: true }, make("summary", {}, "References"), make("ul", {}, frame.references.map(([source, text]) =>
          make("li", {}, make("span", { class: "facts" }, `${visible(source)}: `), make("bdi", {}, visible(text)))))) : null),
      make("section", { class: "found" }, make("h3", {}, "Objects"), objects(frame, looks))));
    redraw();
    gallery.fill(main, root);
    const lights = gallery.lighting(root, (ids) => picture.repaint(ids));
    gallery.here = { release: () => lights.release(), redraw, ticks: root.querySelector(".ticks") };
    gallery.say(`${title}. ${many(frame.objects.length, "object")}.`);
    await fillSteps(steps, position, frame, state, isCurrent);
  };

  async function fillSteps(steps, position, frame, state, isCurrent) {
    const list = gallery.list(state);
    gallery.whenListGrows(() => {});
    await list.promise;
    if (!isCurrent()) return;
    const index = list.indexOf(frame.shard, frame.place);
    const size = gallery.site.piece;
    const at = async (place) => {
      if (index < 0 || place < 0 || place >= list.total) return null;
      const [shard, inShard] = list.at(place);
      const facets = await gallery.facets(shard);
      return link(state, { frame: facets.ids[inShard], in: gallery.site.shards[shard][0] });
    };
    const [before, after] = await Promise.all([at(index - 1), at(index + 1)]);
    if (!isCurrent()) return;
    const page = index < 0 ? "" : Math.floor(index / size) + 1;
    const to = (target, text, name) => (target ? make("a", { href: target, class: name, rel: name === "next" ? "next" : "prev" }, text) : make("span", { class: "off", "aria-hidden": "true" }, text));
    position.textContent = index < 0 ? "" : `${number(index + 1)} of ${number(list.total)}`;
    gallery.fill(steps, to(before, "‹ Previous", "previous"), position, to(after, "Next ›", "next"),
      make("a", { class: "up", href: link(state, { view: "frames", frame: "", in: "", page: page === 1 ? "" : page }) }, "Back to the list"));
  }
})();
