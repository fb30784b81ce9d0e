/* What the theme leaves out for those who use the keyboard or listen: wide tables and programs can be scrolled with the
   keys, and the buttons beside programs are no landmarks of the page. */
addEventListener("load", () => {
  document.querySelectorAll(".md-typeset__scrollwrap, pre > code").forEach((wide) => { wide.tabIndex = 0; });
  document.querySelectorAll(".md-code__nav").forEach((buttons) => { buttons.setAttribute("role", "none"); });
});
