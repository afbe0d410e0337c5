"""The tabs of the page, one file each; `selection`, which they share; links to the page; and the API's endpoints."""
