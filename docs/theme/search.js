// MkDocs' own search listens to keys, and only once its index has come. People type sooner, paste, and press Enter.
document.addEventListener("DOMContentLoaded", () => {
  const query = document.getElementById("mkdocs-search-query");
  const search = () => "min_search_length" in window && doSearch(); // told to MkDocs' script along with the index
  query.addEventListener("input", search);
  query.form.addEventListener("submit", (asked) => asked.preventDefault()); // it would load the page anew
  searchWorker?.addEventListener("message", (told) => told.data.allowSearch && search());
  search();
});
