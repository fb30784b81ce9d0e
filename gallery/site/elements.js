// Making elements. What is said anywhere on the page goes through here, as text: nothing is ever read as markup.
"use strict";
var gallery = {};

gallery.make = function (name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(key, value);
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((one) => one !== null && one !== undefined && one !== false));
  return element;
};

gallery.draw = function (name, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  element.append(...children);
  return element;
};

// For people who listen; not seen.
gallery.aloud = (text) => gallery.make("span", { class: "aloud" }, text);

gallery.say = function (text) {
  document.getElementById("said").textContent = text;
};

gallery.find = (id) => document.getElementById(id);

gallery.fill = function (element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((one) => one !== null && one !== undefined && one !== false));
};

gallery.number = (value, digits) =>
  value === null || value === undefined ? "–" : Number(value).toLocaleString("en", { maximumFractionDigits: digits === undefined ? 3 : digits });

gallery.many = (count, one, more) => `${gallery.number(count)} ${count === 1 ? one : more || one + "s"}`;

gallery.time = function (seconds) {
  if (seconds === null || seconds === undefined) return "?";
  const tenths = Math.round(seconds * 10);
  const pad = (value) => String(value).padStart(2, "0");
  const [hours, minutes, rest] = [Math.floor(tenths / 36000), Math.floor(tenths / 600) % 60, tenths % 600];
  const tail = `${pad(Math.floor(rest / 10))}.${rest % 10}`;
  return hours ? `${hours}:${pad(minutes)}:${tail}` : `${minutes}:${tail}`;
};

// Letters that are not seen, or that turn the direction of reading, as what they are. Line breaks stay.
gallery.visible = (text) =>
  text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\uFFFD]/gu, (letter) =>
    letter === "\n" || letter === "\t" || letter === "\r" || letter === "\u200d"
      ? letter
      : `[U+${letter.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}]`);

gallery.picture = function (folder, shard, position, attributes) {
  const image = gallery.make("img", { loading: "lazy", decoding: "async", alt: "", ...attributes });
  image.addEventListener("error", () => {
    if (image.isConnected) image.replaceWith(gallery.make("span", { class: "no-picture" }, "no picture"));
  });
  image.src = `${folder}/${shard}/${position}.jpg`;
  return image;
};
