// The shots of a movie, side by side, each as wide as it is long.
"use strict";
(function () {
  const { make, aloud, time, many } = gallery;
  const SHORTEST = 0.02;

  gallery.timeline = function (movie, here, target) {
    const place = gallery.site.movies.indexOf(movie);
    const list = make("ol", { class: "timeline" });
    const whole = make("nav", { class: "shots", "aria-label": `Shots of ${movie.title || movie.id}` }, list);
    const shown = gallery.load(`movies/${place}`).then(({ shots }) => {
      const length = shots.reduce((sum, [, start, end]) => sum + Math.max(0, (end || 0) - (start || 0)), 0) || 1;
      for (const shot of shots) list.append(one(shot, length, String(shot[0]) === String(here), target));
      const current = list.querySelector("[aria-current]");
      if (current) list.scrollLeft = current.parentElement.offsetLeft - list.clientWidth / 2;
      return markFaults(list, movie);
    });
    shown.catch((error) => gallery.say(error.message));
    return whole;
  };

  function one([index, start, end, frames, first], length, current, target) {
    const share = Math.max(SHORTEST, ((end || 0) - (start || 0)) / length);
    const span = start === null ? "" : `, ${time(start)} to ${time(end)}`;
    const item = make("li", {});
    item.style.flexGrow = String(share);
    const picture = first ? gallery.picture("thumbnails", gallery.site.shards[first[0]][0], first[2]) : null;
    const label = [picture, make("span", { class: "shot-number" }, aloud("Shot "), String(index),
      aloud(`${span}, ${many(frames, "frame")}`)), make("span", { class: "shot-faults", "data-shot": String(index) })];
    item.append(frames
      ? make("a", { href: target(index, first), "aria-current": current ? "true" : null, title: `Shot ${index}${span}, ${many(frames, "frame")}` }, label)
      : make("span", { class: "empty-shot", title: `Shot ${index}${span}, no frame` }, label));
    return item;
  }

  // How many frames of each shot have a caption at fault, as their facets say.
  async function markFaults(list, movie) {
    const faulty = new Map();
    for (let shard = 0; shard < gallery.site.shards.length; shard++) {
      if (gallery.site.movies[gallery.site.shards[shard][1]] !== movie) continue;
      const facets = await gallery.facets(shard);
      facets.shots.forEach((shot, place) => {
        const isFaulty = facets.captioners.some((said) => said.verdicts.rows[place]
          .some((at) => said.verdicts.words[at] === "violations" || said.verdicts.words[at] === "failed"));
        if (isFaulty) faulty.set(shot, (faulty.get(shot) || 0) + 1);
      });
      if (!list.isConnected && shard) return;
    }
    for (const mark of list.querySelectorAll(".shot-faults")) {
      const number = faulty.get(Number(mark.dataset.shot));
      if (number) gallery.fill(mark, make("span", { "aria-hidden": "true" }, `⚠${number}`), aloud(`, ${number} with faults`));
    }
  }
})();
