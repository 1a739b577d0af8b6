// Select2 makes, whenever it likes, a search field of its own, which no label names.
function name() {
  for (const field of document.querySelectorAll(".select2-search__field:not([aria-label])")) {
    const select = field.closest(".select2-container")?.previousElementSibling;
    const label = select?.id && document.querySelector(`label[for="${select.id}"]`);
    field.setAttribute("aria-label", label ? label.textContent.trim() : "Search");
  }
}
document.addEventListener("DOMContentLoaded", () => {
  name();
  new MutationObserver(name).observe(document.body, { childList: true, subtree: true });
});
