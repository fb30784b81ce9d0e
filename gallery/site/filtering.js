// Which frames meet the conditions: shard by shard, so that the first ones show before the last are looked at.
"use strict";
(function () {
  const has = (column, place, word) => {
    const at = column.words.indexOf(word);
    return at >= 0 && column.rows[place].includes(at);
  };

  const AHEAD = 8; // shards that are asked for before their turn
  const NEEDS = ["object", "action", "violation", "metric", "shot"];

  gallery.isFiltered = (state) => NEEDS.some((word) => state[word] !== "");

  function captionersOf(state) {
    const names = gallery.site.captioners.map((one) => one.name);
    const at = names.indexOf(state.by);
    return at >= 0 ? [at] : names.map((_, place) => place);
  }

  function meets(state, facets, place, captioners) {
    if (state.shot !== "" && String(facets.shots[place]) !== state.shot) return false;
    if (state.object !== "" && !state.cited && !has(facets.objects, place, state.object)) return false;
    const ofCaptions = (state.object !== "" && state.cited) || state.action !== "" || state.violation !== "";
    return !ofCaptions || captioners.some((at) => captionMeets(state, facets.captioners[at], place));
  }

  function captionMeets(state, said, place) {
    if (state.cited && state.object !== "" && !has(said.cited, place, state.object)) return false;
    if (state.action !== "" && !has(said.actions, place, state.action)) return false;
    if (state.violation === "") return true;
    if (state.violation === "any") return said.codes.rows[place].length > 0;
    if (state.violation === "none") return has(said.verdicts, place, "ok");
    if (state.violation === "failed") return has(said.verdicts, place, "failed");
    return has(said.codes, place, state.violation);
  }

  function valuesOf(state, scores, captioners) {
    const columns = captioners.flatMap((at) => scores.captioners[at].filter(([name]) => name === state.metric));
    return columns.map(([, values]) => values);
  }

  function scoreOf(columns, place, low, high) {
    for (const values of columns) {
      const value = values[place];
      if (value !== null && value >= low && value <= high) return value;
    }
    return null;
  }

  const bound = (text, otherwise) => (text === "" || Number.isNaN(Number(text)) ? otherwise : Number(text));

  // A list of frames that grows: `hits` are [shard, place], `done` says that it is complete.
  gallery.search = function (state, changed) {
    const list = { hits: [], done: false, stopped: false, looked: 0, problem: null, promise: null };
    list.promise = run(list, state, changed);
    return list;
  };

  async function run(list, state, changed) {
    const { shards, movies } = gallery.site;
    const captioners = captionersOf(state);
    const [low, high] = [bound(state.from, -Infinity), bound(state.to, Infinity)];
    const valued = [];
    const wanted = shards.map((_, shard) => shard).filter((shard) => state.movie === "" || movies[shards[shard][1]].id === state.movie);
    const read = (shard) => Promise.all([gallery.facets(shard), state.metric === "" ? null : gallery.scores(shard)]);
    const ahead = [];
    for (let turn = 0; turn < wanted.length && !list.stopped; turn++) {
      while (ahead.length < Math.min(turn + AHEAD, wanted.length)) {
        const reading = read(wanted[ahead.length]);
        reading.catch(() => {}); // it is told of when its turn comes
        ahead.push(reading);
      }
      const shard = wanted[turn];
      try {
        const [facets, scores] = await ahead[turn];
        ahead[turn] = null;
        const columns = scores ? valuesOf(state, scores, captioners) : null;
        for (let place = 0; place < facets.ids.length; place++) {
          if (!meets(state, facets, place, captioners)) continue;
          const value = columns ? scoreOf(columns, place, low, high) : 0;
          if (value === null) continue;
          if (columns && state.order) valued.push([value, shard, place]);
          else list.hits.push([shard, place]);
        }
      } catch (error) {
        list.problem = error.message;
      }
      list.looked += shards[shard][2];
      changed(list);
    }
    if (valued.length) {
      const sign = state.order === "down" ? -1 : 1;
      valued.sort((one, other) => sign * (one[0] - other[0]) || one[1] - other[1] || one[2] - other[2]);
      list.hits = valued.map(([, shard, place]) => [shard, place]);
    }
    list.done = !list.stopped;
    changed(list);
  }

  // All frames, or all of a movie: nothing has to be looked at.
  gallery.everything = function (state) {
    const parts = [];
    let total = 0;
    gallery.site.shards.forEach(([, movie, frames], shard) => {
      if (state.movie !== "" && gallery.site.movies[movie].id !== state.movie) return;
      parts.push([total, shard]);
      total += frames;
    });
    return {
      done: true, problem: null, total, promise: Promise.resolve(),
      at(index) {
        let [low, high] = [0, parts.length - 1];
        while (low < high) {
          const middle = (low + high + 1) >> 1;
          if (parts[middle][0] <= index) low = middle;
          else high = middle - 1;
        }
        return [parts[low][1], index - parts[low][0]];
      },
      indexOf(shard, place) {
        const part = parts.find(([, one]) => one === shard);
        return part ? part[0] + place : -1;
      },
    };
  };

  // One list for the conditions of an address, kept while they stay the same.
  let current = { key: null, list: null };
  const listeners = new Set();
  gallery.list = function (state) {
    const key = gallery.conditions(state) + gallery.site.version;
    if (current.key !== key) {
      if (current.list) current.list.stopped = true;
      const list = gallery.isFiltered(state)
        ? gallery.search(state, (one) => { if (!one.stopped) listeners.forEach((listen) => listen(one)); })
        : gallery.everything(state);
      if (list.hits) {
        Object.defineProperty(list, "total", { get: () => list.hits.length });
        list.at = (index) => list.hits[index];
        list.indexOf = (shard, place) => list.hits.findIndex((hit) => hit[0] === shard && hit[1] === place);
      }
      current = { key, list };
    }
    return current.list;
  };
  gallery.whenListGrows = function (listen) {
    listeners.clear();
    listeners.add(listen);
  };
})();
