// Pointing at a span lights its boxes, pointing at a box lights its words; a click or Enter holds the light.
"use strict";
(function () {
  const idsOf = (element) => (element.dataset.objects || "").split(" ").filter(Boolean);

  gallery.lighting = function (root, repaint) {
    let held = null;
    let lit = null;

    function light(source) {
      const ids = source ? idsOf(source) : [];
      const faults = source && source.dataset.fault !== undefined ? source.dataset.fault : null;
      if (source === lit) return;
      lit = source;
      const caption = source ? source.closest("[data-caption]") : null;
      root.classList.toggle("has-light", ids.length > 0);
      for (const element of root.querySelectorAll("[data-objects]"))
        element.classList.toggle("lit", element === source || idsOf(element).some((id) => ids.includes(id)));
      for (const element of root.querySelectorAll("[data-faults]"))
        element.classList.toggle("lit-fault", faults !== null && element.closest("[data-caption]") === caption &&
          element.dataset.faults.split(" ").includes(faults));
      repaint(ids);
    }

    function hold(element) {
      const next = held === element ? null : element;
      for (const one of root.querySelectorAll("[aria-pressed]")) one.setAttribute("aria-pressed", "false");
      held = next;
      if (next && next.hasAttribute("aria-pressed")) next.setAttribute("aria-pressed", "true");
      light(next);
    }

    const source = (event) => (event.target instanceof Element ? event.target.closest("[data-objects]") : null);
    root.addEventListener("pointerover", (event) => light(source(event) || held));
    root.addEventListener("pointerleave", () => light(held));
    root.addEventListener("focusin", (event) => light(source(event) || held));
    root.addEventListener("click", (event) => {
      const element = source(event);
      if (element && !event.target.closest("a")) hold(element);
    });
    root.addEventListener("keydown", (event) => {
      const element = source(event);
      if (element && element.getAttribute("role") === "button" && (event.key === "Enter" || event.key === " ")) {
        event.preventDefault();
        hold(element);
      }
    });
    return {
      release() {
        const was = held !== null;
        if (was) hold(held);
        return was;
      },
    };
  };
})();
