"""Reading and writing of clips and pictures, decoded in a sandbox."""
