// A caption as its words, each tag a coloured span, faults marked where they are; with its tags spelled out if wanted.
"use strict";
(function () {
  const { make, aloud, visible } = gallery;
  const KINDS = { object: "object", action: "action of", location: "location" };
  const MARKUP = 1;
  const SIGN = "⚠";

  // Colour and line of an object: by its place in the frame's list, eight colours, then other lines.
  gallery.looks = function (frame) {
    const looks = new Map();
    frame.objects.forEach((one, place) => looks.set(one.id, { hue: place % 8, line: Math.floor(place / 8) % 4 }));
    return (id) => looks.get(id) || { hue: 8, line: 0 };
  };

  function faultMark(said, indices) {
    const faults = indices.map((index) => said.violations[index]).filter(Boolean);
    if (!faults.length) return null;
    return make("span", { class: "fault-sign", "data-faults": indices.join(" "), title: faults.map(([code, , message]) => `${code}: ${message}`).join("\n") },
      make("span", { "aria-hidden": "true" }, SIGN), aloud(` (fault: ${faults.map(([code]) => code).join(", ")})`));
  }

  function piece(said, [text, role, , faults], shown) {
    if (role === MARKUP && !shown) return null;
    const classes = [role === MARKUP ? "markup" : "words", faults.length ? "fault" : ""].filter(Boolean).join(" ");
    return make("span", { class: classes, "data-faults": faults.join(" ") || null }, visible(text));
  }

  // Pieces of equal tags that follow each other are one span.
  function grouped(runs) {
    const groups = [];
    let key = null;
    for (const run of runs) {
      const own = run[0] === "" && key !== null ? key : run[2].join(" ");
      if (own !== key) groups.push([]);
      key = own;
      groups[groups.length - 1].push(run);
    }
    return groups;
  }

  gallery.captionText = function (said, frame, shown) {
    const looks = gallery.looks(frame);
    const told = new Set();
    const parts = grouped(said.runs).map((group) => {
      const mentions = (group.find((run) => run[2].length) || group[0])[2];
      const pieces = group.map((run) => {
        const fresh = run[3].filter((index) => !told.has(index));
        fresh.forEach((index) => told.add(index));
        return [piece(said, run, shown), faultMark(said, fresh)];
      });
      const hasWords = shown || group.some((run) => run[1] !== MARKUP && run[0].trim() !== "");
      const ids = [...new Set(mentions.flatMap((index) => (said.mentions[index] ? said.mentions[index][2] : [])))];
      if (!mentions.length || !hasWords) return pieces;
      const inner = said.mentions[mentions[mentions.length - 1]];
      const [kind, label, , verdict] = inner || ["object", "", [], "not checked"];
      const look = looks(inner && inner[2].length ? inner[2][0] : "");
      const names = ids.map(visible).join(" ");
      const what = kind === "action" ? `${KINDS[kind]} ${names}: ${visible(label)}` : `${KINDS[kind]} ${names}`;
      return make("span", {
        class: `tag kind-${kind} hue-${look.hue} line-${look.line}${verdict === "ok" ? "" : " at-fault"}`,
        role: "button", tabindex: "0", "aria-pressed": "false", title: `${what}${verdict === "ok" ? "" : ` (${verdict})`}`,
        "data-objects": ids.join(" "),
      }, pieces, make("span", { class: "ids", "aria-hidden": "true" }, kind === "action" ? `${names} · ${visible(label)}` : names),
      aloud(` (${what})`));
    });
    return make("p", { class: shown ? "caption shown-tags" : "caption", dir: "auto" }, make("bdi", {}, parts));
  };

  gallery.verdict = function (said) {
    const codes = [...new Set(said.violations.map(([code]) => code))];
    if (said.verdict === "ok") return make("span", { class: "badge good" }, "✓ ok");
    if (said.verdict === "failed" || said.error) return make("span", { class: "badge bad" }, "✕ failed");
    if (said.verdict === "violations") return codes.map((code) => make("span", { class: "badge bad" }, `${SIGN} ${code}`));
    return make("span", { class: "badge" }, `? ${said.verdict}`);
  };

  gallery.violations = function (said) {
    if (!said.violations.length) return null;
    return make("ul", { class: "violations", "aria-label": "Faults" }, said.violations.map(([code, id, message], index) =>
      make("li", { "data-fault": String(index), "data-objects": id || "" },
        make("span", { class: "badge bad" }, `${SIGN} ${code}`), " ", visible(message))));
  };

  const fact = (name, value) => (value === null || value === "" || value === undefined ? null : [make("dt", {}, name), make("dd", {}, visible(String(value)))]);

  gallery.provenance = (said) =>
    make("details", { class: "origin" }, make("summary", {}, "How it was made"), make("dl", {},
      fact("caption_id", said.id), fact("checkpoint", said.checkpoint), fact("adapter", said.adapter),
      fact("decoding", said.decoding), fact("finish_reason", said.finish), fact("candidate", said.candidate),
      fact("attempt", said.attempt || null), fact("repairs", said.repairs.join(", ")),
      fact("not chosen because of", said.chosen === false ? said.reasons.join(", ") : null), fact("what the captioner wrote", said.wrote)));
})();
