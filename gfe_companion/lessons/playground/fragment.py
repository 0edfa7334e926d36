"""The playground as a piece of an HTML page that needs no network and no other file."""

from __future__ import annotations

import base64
import html
import json

from gfe_companion.lessons.playground import module, racers, still
from gfe_companion.lessons.playground.weights import PUBLISHED

WITHOUT = "This picture moves where scripts may run: draw a digit, and see two solvers encode it."


def fragment() -> str:
    """A section with a still picture, which gives way to the playground where scripts may run."""
    picture, alt = still.picture()
    weights = base64.b64encode(PUBLISHED.read_bytes()).decode()
    setup = json.dumps(racers.setup())
    return "\n".join([
        '<section class="playground" aria-label="Playground">',
        f"<style>\n{module.style()}</style>",
        '<div id="playground">',
        f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{base64.b64encode(picture).decode()}">',
        f"<noscript><p>{WITHOUT}</p></noscript>",
        "</div>",
        f'<script type="text/plain" id="playground-weights">{weights}</script>',
        '<script type="module">',
        module.source(),
        'const found = (id) => document.getElementById(id);',
        f'mountReport(found("playground"), found("playground-weights").textContent, {setup});',
        "</script>",
        "</section>",
    ])  # fmt: skip
