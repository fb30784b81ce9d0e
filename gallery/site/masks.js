// Masks: COCO's compressed run lengths, painted into a canvas.
"use strict";
(function () {
  const MOST_PIXELS = 1 << 26;

  // As cocoapi's rleFrString: characters from '0' on, five bits each, the lowest first; bit 5: more follow, bit 4 of the
  // last: the sign; from the fourth number on a difference to the one before the last. Columns, outside first.
  gallery.runLengths = function (text) {
    const runs = [];
    for (let at = 0; at < text.length;) {
      let [value, shift, code] = [0, 0, 32];
      while (code & 32) {
        code = text.charCodeAt(at++) - 48;
        value |= (code & 31) << shift;
        shift += 5;
        if (!(code & 32) && code & 16 && shift < 32) value |= -1 << shift;
        if (Number.isNaN(code)) return runs;
      }
      runs.push(runs.length > 2 ? value + runs[runs.length - 2] : value);
    }
    return runs;
  };

  function paintOne(pixels, width, height, text, [red, green, blue], alpha) {
    let [at, inside] = [0, false];
    const end = width * height;
    for (const run of gallery.runLengths(text)) {
      if (run < 0 || at + run > end) return;
      if (inside) {
        for (let pixel = at; pixel < at + run; pixel++) {
          const place = 4 * ((pixel % height) * width + Math.floor(pixel / height));
          pixels[place] = red;
          pixels[place + 1] = green;
          pixels[place + 2] = blue;
          pixels[place + 3] = alpha;
        }
      }
      at += run;
      inside = !inside;
    }
  }

  // `colour` gives [red, green, blue] and alpha of a segment.
  gallery.paintMasks = function (canvas, masks, colour) {
    if (!masks.length) return;
    const [, width, height] = masks[0];
    if (width * height > MOST_PIXELS || width * height === 0) return;
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext("2d", { willReadFrequently: true });
    const image = context.createImageData(width, height);
    for (const [segment, ownWidth, ownHeight, text] of masks) {
      const [rgb, alpha] = colour(segment);
      if (ownWidth === width && ownHeight === height && alpha) paintOne(image.data, width, height, text, rgb, alpha);
    }
    context.putImageData(image, 0, 0);
  };
})();
