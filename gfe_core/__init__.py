"""Gradient flow encoding: an image's code is found by following the gradient of its own loss, with a decoder alone.

One file holds one section of the paper; `gfe_companion` turns them into its figures and tables. Nothing is
imported here, so that the command line can speak before the packages are installed.
"""
