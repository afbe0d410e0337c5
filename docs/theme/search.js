// MkDocs' search listens to key events, and only after its index is loaded. Users may type earlier, paste, or press Enter.
document.addEventListener("DOMContentLoaded", () => {
  const query = document.getElementById("mkdocs-search-query");
  const search = () => "min_search_length" in window && doSearch(); // set together with the index
  query.addEventListener("input", search);
  query.form.addEventListener("submit", (event) => event.preventDefault()); // it would reload the page
  searchWorker?.addEventListener("message", (event) => event.data.allowSearch && search());
  search();
});
