"""Action libraries and their maps: building, layouts, nearest neighbours and summaries of motion."""
