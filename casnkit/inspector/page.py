from __future__ import annotations


def write_page(path, view):
    return path
