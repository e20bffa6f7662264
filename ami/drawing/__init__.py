"""The graph as text, Mermaid and SVG."""
