// Data comes in scripts that call gallery.receive with a string of JSON: a page opened from disk may load nothing else.
"use strict";
(function () {
  const KEPT = 240;
  const waiting = new Map();
  const kept = new Map();
  const place = /^data\/(?:site|version|movies\/\d+|shards\/[0-9a-f]+\/[a-z]+(?:-\d+)?)\.js(?:\?[0-9a-f]+)?$/;
  const check = (address) => {
    if (!place.test(address)) throw new TypeError("no address of this gallery");
    return address;
  };
  const policy = window.trustedTypes
    ? window.trustedTypes.createPolicy("gallery", { createScriptURL: check })
    : { createScriptURL: check };

  gallery.receive = function (name, text) {
    const one = waiting.get(name);
    if (!one) return;
    waiting.delete(name);
    one.resolve(JSON.parse(text));
  };

  function request(name) {
    return new Promise((resolve, reject) => {
      waiting.set(name, { resolve });
      const script = document.createElement("script");
      const fail = () => {
        waiting.delete(name);
        reject(new Error(`${name} of the gallery cannot be read.`));
      };
      script.addEventListener("error", fail);
      script.addEventListener("load", () => {
        script.remove();
        if (waiting.has(name)) fail();
      });
      const version = gallery.site && gallery.site.version ? `?${gallery.site.version}` : "";
      script.src = policy.createScriptURL(`data/${name}.js${version}`);
      document.head.append(script);
    });
  }

  // The promise of a file of data/. The files used last are kept, so memory does not grow with the store.
  gallery.load = function (name) {
    const known = kept.get(name);
    kept.delete(name);
    const promise = known || request(name);
    kept.set(name, promise);
    if (!known) promise.catch(() => kept.delete(name));
    if (kept.size > KEPT) kept.delete(kept.keys().next().value);
    return promise;
  };

  gallery.forget = () => kept.clear();

  // A file that says something else every time; on a page from a server only.
  gallery.loadAnew = function (name) {
    kept.delete(name);
    return request(name);
  };

  gallery.frameAt = async function (shard, place) {
    const [key, movie] = gallery.site.shards[shard];
    const piece = Math.floor(place / gallery.site.piece);
    const said = await gallery.load(`shards/${key}/frames-${piece}`);
    return { ...said.frames[place % gallery.site.piece], shard, place, key, movie: gallery.site.movies[movie] };
  };
  gallery.masksOf = async function (frame) {
    const said = await gallery.load(`shards/${frame.key}/masks-${Math.floor(frame.place / gallery.site.piece)}`);
    return said.frames[frame.place % gallery.site.piece].masks;
  };
  gallery.facets = (shard) => gallery.load(`shards/${gallery.site.shards[shard][0]}/facets`);
  gallery.scores = (shard) => gallery.load(`shards/${gallery.site.shards[shard][0]}/scores`);
})();
