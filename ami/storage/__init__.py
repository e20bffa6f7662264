"""Files that are whole or not there, files that anybody may have written, and the store that keeps them."""
