"""Tools that tests, benchmarks and `assets/make_pictures.py` share: to run the app, a browser, and an HTTP client."""
