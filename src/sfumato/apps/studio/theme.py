"""The look of the page: system fonts, so that the browser contacts no other server."""

import gradio as gr

SANS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")


def theme() -> gr.themes.Base:
    """The theme."""
    return gr.themes.Base(
        primary_hue="indigo",
        neutral_hue="slate",
        radius_size=gr.themes.sizes.radius_md,
        font=list(SANS),
        font_mono=list(MONO),
    ).set(block_border_width="1px", block_shadow="none")


# Gradio confines CSS to what lies within the page; the frame around that is reached from the head alone.
FRAME = """<style>
.gradio-container {max-width: 1180px !important; margin: 0 auto !important}
@media (max-width: 640px) {.gradio-container .app {padding: 0.5rem !important}}
</style>"""

CSS = """
#head h1 {margin: 0; font-weight: 650; letter-spacing: -0.02em}
#head p {margin: 0.2rem 0 0; opacity: 0.7}
.told {min-height: 1.6rem; font-size: 0.95rem}
.told.wrong {color: var(--error-text-color, #b91c1c); background: var(--error-background-fill, #fef2f2);
  padding: 0.5rem 0.75rem; border-radius: 0.5rem}
.bar {height: 6px; border-radius: 3px; background: var(--neutral-200); overflow: hidden; margin: 0.3rem 0}
.dark .bar {background: var(--neutral-700)}
.bar > div {height: 100%; background: var(--primary-500); transition: width 0.15s linear}
.grid-wrap {height: auto !important; max-height: none !important; min-height: 0 !important;
  overflow: visible !important}
.pixels img {image-rendering: pixelated}
#history .caption-label {display: none}
#history .grid-wrap, #anagram-picker .grid-wrap {padding-top: 0.6rem}
#recipe, #recipe * {min-width: 0}
#inpaint-mask, #anagram-result, #hybrid-result {padding: 0}
@media (max-width: 640px) {
  #head h1 {font-size: 1.4rem}
  #anew {flex-basis: 100%; min-width: 100%}
  .tab-wrapper, .tab-container {min-width: 0; max-width: 100%; overflow: hidden}
  .tab-wrapper:has(.overflow-dropdown:not(.hide)) {overflow: visible}
  .tab-container button {padding: 0 0.35rem !important; font-size: 0.9rem}
  #doodle-pad, #inpaint-pad {overflow: hidden; max-width: calc(100vw - 1rem)}
  .grid-container {grid-template-columns: repeat(2, minmax(0, 1fr)) !important}
  #history .grid-container {grid-template-columns: repeat(5, minmax(0, 1fr)) !important}
  #anagram-picker .grid-container {grid-template-columns: repeat(4, minmax(0, 1fr)) !important}
  #anagram-picker .caption-label {font-size: 0.6rem; padding: 0 0.2rem}
  #digits-gallery .grid-container {grid-template-columns: repeat(4, minmax(0, 1fr)) !important}
  #digits-gallery .caption-label {display: none}
}
"""
