"""The screen: ipywidgets bound to a desk."""
