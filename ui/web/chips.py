"""Citations in an answer that can be clicked, or reached with the tab key: a script of ours beside Streamlit's own Markdown.

It reads numbers from badges that `markup.answer_parts` made, and says which was chosen. Texts never pass through it.
"""

from __future__ import annotations

from typing import Any

import streamlit as st

ANSWER_KEY = "answer-"  # of the containers that hold answers; a turn's number follows

_JS = """
export default function ({ data, setTriggerValue }) {
  const badges = () => document.querySelectorAll('[class*="st-key-answer-"] .stMarkdownBadge');
  const prepare = () => badges().forEach((badge) => {
    if (badge.getAttribute('role') === 'button' || !/^\\d+$/.test(badge.textContent.trim())) return;
    badge.setAttribute('role', 'button');
    badge.setAttribute('tabindex', '0');
    badge.setAttribute('aria-label', data.label + ' ' + badge.textContent.trim());
  });
  const choose = (event) => {
    if (event.type === 'keydown' && event.key !== 'Enter' && event.key !== ' ') return;
    const badge = event.target.closest && event.target.closest('.stMarkdownBadge[role="button"]');
    const holder = badge && badge.closest('[class*="st-key-answer-"]');
    if (!holder) return;
    event.preventDefault();
    const turn = /st-key-answer-(\\d+)/.exec(holder.className)[1];
    setTriggerValue('chosen', turn + '.' + badge.textContent.trim());
  };
  prepare();
  const observer = new MutationObserver(prepare);
  observer.observe(document.querySelector('section.stMain') || document.body, { childList: true, subtree: true });
  document.addEventListener('click', choose);
  document.addEventListener('keydown', choose);
  if (data.source && window.ragstoneSource !== data.source) {
    let tries = 20;  // it is drawn after this ran, and a picture later still
    const show = () => {
      const panel = document.querySelector('[class*="st-key-source-"]');
      if (!panel) { if (tries-- > 0) setTimeout(show, 150); return; }
      const marks = [...panel.querySelectorAll('.stMarkdownColoredBackground')].filter((mark) => mark.offsetParent);
      (marks[0] || panel).scrollIntoView({ block: marks.length ? 'center' : 'nearest' });
    };
    setTimeout(show, 300);
  }
  window.ragstoneSource = data.source;
  return () => {
    observer.disconnect();
    document.removeEventListener('click', choose);
    document.removeEventListener('keydown', choose);
  };
}
"""


def chosen(label: str, source: str) -> str:
    """Which citation was clicked in this run, as turn.marker, or "". label: what a screen reader says before the number."""
    result: Any = _component()(data={"label": label, "source": source}, key="chips", on_chosen_change=lambda: None)
    return str(result.chosen or "")


@st.cache_resource(show_spinner=False)
def _component() -> Any:
    return st.components.v2.component("ragstone_chips", js=_JS)
