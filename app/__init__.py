"""The web page, built with Gradio. The models and all of their computation are in `lawm_core`."""
